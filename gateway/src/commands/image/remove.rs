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

/// Remove every image that no endpoint runs
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
    let count = removed.images.len();
    let images = if count == 1 { "image" } else { "images" };
    eprintln!(
        "removed {count} {images}; {} and {} unpacked layers are free",
        size(removed.bytes.get()),
        removed.layers
    );
    if removed.is_incomplete {
        eprintln!("more is free when what is being stored is done, or after the daemon's next start: its log says");
    }
    Ok(())
}
