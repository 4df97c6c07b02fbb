//! Images: one file for what brings them, one for what looks at them, one for what takes them away.

mod credentials;
mod look;
mod progress;
mod remove;
mod transfer;
mod unfinished;

pub(super) use transfer::pull;

use clap::{Args, Subcommand};
use dormouse_spec::ImageReference;

use super::{CommandError, Common};
use crate::admin::Client;

/// Pull, import, export, list and remove OCI images
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse image pull busybox:1.36                       from Docker Hub
  dormouse image pull ghcr.io/owner/name@sha256:…        exactly this one
  docker save my-image | dormouse image import -         from Docker, without a registry
  dormouse image export my-image -o my-image.tar         for a node without a network
  dormouse image ls
  dormouse image inspect my-image --json | jq .details.config

Images are verified by their digests when they come, and unpacked once; layers are shared. Only those that
are not there yet are fetched.")]
pub(super) struct Image {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Pull(transfer::Pull),
    Import(transfer::Import),
    Export(transfer::Export),
    Ls(look::Ls),
    Inspect(look::Inspect),
    Rm(remove::Rm),
    Prune(remove::Prune),
}

impl Image {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        match self.verb {
            Verb::Pull(pull) => pull.run(common, client).await,
            Verb::Import(import) => import.run(common, client).await,
            Verb::Export(export) => export.run(common, client).await,
            Verb::Ls(ls) => ls.run(common, client).await,
            Verb::Inspect(inspect) => inspect.run(common, client).await,
            Verb::Rm(rm) => rm.run(common, client).await,
            Verb::Prune(prune) => prune.run(common, client).await,
        }
    }
}

/// A reference as people and other tools write it.
fn reference(text: &str) -> Result<ImageReference, dormouse_spec::ImageReferenceError> {
    text.parse()
}
