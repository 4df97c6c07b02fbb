use std::{
    fs::File,
    io::IsTerminal,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use clap::Args;
use dormouse_spec::ImageReference;

use super::{credentials, progress::Progress, reference, unfinished::Unfinished};
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
    /// Where to; `-` is stdout [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Pull {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        tell(common, &pull(client, self.reference).await?)
    }
}

/// With the caller's credentials, and progress on stderr.
pub(in crate::commands) async fn pull(client: &Client, reference: ImageReference) -> Result<ImageEvent, CommandError> {
    let credentials = credentials::of_caller(reference.registry())?;
    let mut progress = Progress::new(reference.familiar());
    let order = PullOrder { reference, credentials };
    Ok(client.pull(&order, |event| progress.tell(event)).await?)
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
        let to_stdout = self.output.as_deref().is_none_or(|output| output == Path::new("-"));
        let done = match &self.output {
            _ if to_stdout && std::io::stdout().is_terminal() => {
                return Err(CommandError::Usage("an archive is nothing for a terminal: name a file with -o FILE"));
            }
            Some(path) if !to_stdout => to_file(client, &order, path).await?,
            _ => {
                let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(CommandError::Output)?;
                client.export(&order, stdout).await?
            }
        };
        // The archive itself may be on stdout.
        match done {
            ImageEvent::Exported { .. } if common.json && !to_stdout => print_json(&done),
            ImageEvent::Exported { images, bytes } => {
                let what = if images == 1 { "image" } else { "images" };
                eprintln!("exported {images} {what}, {}", size(bytes.get()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A file gets its name when it is whole; what is no file, as a pipe, is written to as it is.
async fn to_file(client: &Client, order: &ExportOrder, path: &Path) -> Result<ImageEvent, CommandError> {
    let failed = |source| CommandError::Write { what: path.display().to_string(), source };
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let target = File::options().write(true).open(path).map_err(failed)?;
        return Ok(client.export(order, target.into()).await?);
    }
    let unfinished = Unfinished::create(path).map_err(failed)?;
    let exported = client.export(order, unfinished.file().try_clone().map_err(failed)?.into()).await?;
    unfinished.finish().map_err(failed)?;
    Ok(exported)
}

fn open(archive: &Path) -> Result<OwnedFd, CommandError> {
    let failed = |source| CommandError::Read { what: archive.display().to_string(), source };
    if archive == Path::new("-") {
        return std::io::stdin().as_fd().try_clone_to_owned().map_err(failed);
    }
    let file = File::open(archive).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        let instead = format!("it is a directory: `tar -C {} -c . | dormouse image import -`", archive.display());
        return Err(failed(std::io::Error::other(instead)));
    }
    Ok(file.into())
}

fn tell(common: &Common, done: &ImageEvent) -> Result<(), CommandError> {
    let ImageEvent::Stored { images } = done else { return Ok(()) };
    if common.json {
        return print_json(images);
    }
    images.iter().try_for_each(|image| print_line(format!("{}@{}", image.reference.familiar(), image.digest)))
}
