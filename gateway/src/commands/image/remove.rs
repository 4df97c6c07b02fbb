use clap::Args;
use dormouse_spec::ImageReference;

use super::reference;
use crate::{
    admin::{
        Client,
        api::images::{RemoveOrder, RemovedStatus},
    },
    commands::{
        CommandError, Common,
        output::{print_json, print_line, size},
    },
};

/// Remove images, and the layers that no other image has
#[derive(Debug, Args)]
pub(in crate::commands) struct Rm {
    #[arg(required = true, value_name = "IMAGE", value_parser = reference)]
    references: Vec<ImageReference>,
}

/// Remove every image that no endpoint uses
#[derive(Debug, Args)]
pub(in crate::commands) struct Prune {}

impl Rm {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        tell(common, &client.remove_images(&RemoveOrder { references: self.references }).await?)
    }
}

impl Prune {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        tell(common, &client.prune_images().await?)
    }
}

fn tell(common: &Common, removed: &RemovedStatus) -> Result<(), CommandError> {
    if common.json {
        return print_json(removed);
    }
    for image in &removed.images {
        print_line(image.familiar())?;
    }
    eprintln!(
        "removed {} images, {} of blobs and {} unpacked layers",
        removed.images.len(),
        size(removed.bytes.get()),
        removed.layers
    );
    Ok(())
}
