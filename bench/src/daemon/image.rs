//! Images, from an archive to what an endpoint of one answers.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{Daemon, EndpointSettings};
use crate::Failure;

impl Daemon {
    /// Brings an archive to the node under this name.
    pub(crate) fn import(&self, archive: &Path, name: &str) -> Result<(), Failure> {
        let archive = archive.to_str().ok_or("a path that is no text")?;
        self.cli(&["image", "import", archive, "--name", name]).map(drop)
    }

    pub(crate) fn deploy_image(&self, name: &str, image: &str, settings: &EndpointSettings) -> Result<(), Failure> {
        self.deploy_manifest(name, &settings.manifest_of_image(name, image))
    }

    /// On a connection of its own, which belongs to what a first caller waits for.
    pub(crate) fn first_page(&self, endpoint: &str) -> Result<(Duration, Vec<u8>), Failure> {
        let begun = Instant::now();
        let page = self.connect()?.get(&host(endpoint), "/")?;
        Ok((begun.elapsed(), page))
    }
}

/// By which an endpoint of an image is asked for.
pub(crate) fn host(endpoint: &str) -> String {
    format!("{endpoint}.localhost")
}
