use std::{
    fs::File,
    io::IsTerminal,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use clap::Args;
use dormouse_spec::ImageReference;

use super::{credentials, progress::Progress, reference};
use crate::{
    admin::{
        Client,
        api::images::{ExportOrder, ImageEvent, ImportOrder, PullOrder},
    },
    commands::{
        CommandError, Common,
        output::{print_json, print_line, size},
    },
};

/// Fetch an image from a registry
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse image pull busybox
  dormouse image pull registry.example.com/team/model:3

Of an image for several platforms, the one for this machine is fetched. Credentials are those that
`docker login`, `podman login` or `skopeo login` wrote, in the first of these files that has some for the
registry: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or ~/.docker/config.json, and
$XDG_RUNTIME_DIR/containers/auth.json; else the daemon's own (`credentials` in [images]). Registries that speak plain HTTP, and mirrors, are named in [images] too.")]
pub(in crate::commands) struct Pull {
    #[arg(value_name = "IMAGE", value_parser = reference)]
    reference: ImageReference,
}

/// Take in images from an archive: `docker save`, `podman save`, or a tar archive of an OCI layout
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse image import my-image.tar
  docker save my-image | dormouse image import -
  tar -C layout -c . | dormouse image import - --name my-image:1.0")]
pub(in crate::commands) struct Import {
    /// The archive, plain or compressed by gzip; `-` reads stdin
    archive: PathBuf,
    /// What to call the image, instead of what the archive calls it
    #[arg(long, value_name = "IMAGE", value_parser = reference)]
    name: Option<ImageReference>,
}

/// Write images to an archive that `image import`, `docker load`, `podman load`, `ctr` and `skopeo` read
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse image export my-image -o my-image.tar
  dormouse image export my-image other | ssh node dormouse image import -")]
pub(in crate::commands) struct Export {
    #[arg(required = true, value_name = "IMAGE", value_parser = reference)]
    references: Vec<ImageReference>,
    /// Where to [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Pull {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let credentials = credentials::of_caller(self.reference.registry())?;
        let mut progress = Progress::new(self.reference.familiar());
        let order = PullOrder { reference: self.reference, credentials };
        let done = client.pull(&order, |event| progress.tell(event)).await;
        drop(progress);
        tell(common, &done?)
    }
}

impl Import {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let archive = open(&self.archive)?;
        let mut progress = Progress::new(self.archive.display().to_string());
        let done = client.import(&ImportOrder { name: self.name }, archive, |event| progress.tell(event)).await;
        drop(progress);
        tell(common, &done?)
    }
}

impl Export {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let order = ExportOrder { references: self.references };
        let done = match &self.output {
            None if std::io::stdout().is_terminal() => {
                return Err(CommandError::Usage("an archive is nothing for a terminal: name a file with -o FILE"));
            }
            None => {
                let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(CommandError::Output)?;
                client.export(&order, stdout).await?
            }
            Some(path) => to_file(client, &order, path).await?,
        };
        // The archive itself may be on stdout.
        match done {
            ImageEvent::Exported { .. } if common.json && self.output.is_some() => print_json(&done),
            ImageEvent::Exported { images, bytes } => {
                eprintln!("exported {images} images, {}", size(bytes.get()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A file that is only half an archive is not left behind.
async fn to_file(client: &Client, order: &ExportOrder, path: &Path) -> Result<ImageEvent, CommandError> {
    let failed = |source| CommandError::Write { what: path.display().to_string(), source };
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let file = File::create(&partial).map_err(failed)?;
    let kept = file.try_clone().map_err(failed)?;
    let exported = match client.export(order, file.into()).await {
        Ok(exported) => {
            kept.sync_all().and_then(|()| std::fs::rename(&partial, path)).map(|()| exported).map_err(failed)
        }
        Err(error) => Err(error.into()),
    };
    if exported.is_err() {
        // What went wrong is what the caller has to know.
        let _ = std::fs::remove_file(&partial);
    }
    exported
}

fn open(archive: &Path) -> Result<OwnedFd, CommandError> {
    let failed = |source| CommandError::Read { what: archive.display().to_string(), source };
    if archive == Path::new("-") {
        return std::io::stdin().as_fd().try_clone_to_owned().map_err(failed);
    }
    Ok(File::open(archive).map_err(failed)?.into())
}

fn tell(common: &Common, done: &ImageEvent) -> Result<(), CommandError> {
    let ImageEvent::Stored { images } = done else { return Ok(()) };
    if common.json {
        return print_json(images);
    }
    images.iter().try_for_each(|image| print_line(format!("{}@{}", image.reference.familiar(), image.digest)))
}
