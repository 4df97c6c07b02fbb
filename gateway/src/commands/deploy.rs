//! From a path, an image or a manifest to an endpoint: files are opened here, with the caller's rights.

mod flags;
mod progress;
mod source;
mod wait;

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use clap::Args;
use dormouse_image::open_model;
use dormouse_spec::{Contract, ImageReference};
use http::StatusCode;
use rustix::fs::{FileType, Mode, OFlags};

use self::{
    flags::ContainerFlags,
    progress::Progress,
    source::{Content, Named, Source, of_manifests, of_path},
    wait::wait,
};
use super::{
    CommandError, Common,
    image::pull,
    output::{print_json, print_line},
};
use crate::admin::{
    Client, ClientError,
    api::{DeployEvent, DeployOrder, FileEntry, Preparation},
};

/// Make an endpoint of a model or of an image, or replace what one runs
#[derive(Debug, Args)]
#[command(
    override_usage = "dormouse deploy [OPTIONS] <PATH>\n       dormouse deploy [OPTIONS] <IMAGE> [-- <ARGS>...]\n       dormouse deploy [OPTIONS] -f <FILE>"
)]
#[command(after_help = "\
Examples:
  dormouse deploy silero_vad.onnx                 becomes the endpoint silero-vad
  dormouse deploy models/minilm --name embed      a directory with model.onnx and its external data
  dormouse deploy ghcr.io/team/app:1 --port 3000  an image that listens on port 3000
  dormouse deploy python:3.12-slim --name files -- python3 -m http.server 8080
  dormouse deploy -f service.yaml --wait          manifests of KServe, Knative and Kubernetes
  dormouse deploy bert.onnx --sample ask.json     compare the optimised model on this request

Of a model: it returns when the model has been stored, loaded once in a confined replica to see that it
can be, and written down; a model that cannot be served leaves what served before. Before that, the model
is optimised for this machine in another confined replica, and answers the sample, or input made
from its signature, as the original does, bit for bit; otherwise the original serves, and `status`
says why. The files are read with your rights, not the daemon's.

Of an image: it is pulled unless it is here (`dormouse image pull` fetches what a name means now), started
once until it takes requests, and written down; one that does not come to that leaves what served before.
It is told where to listen by $PORT, and is reached at http://NAME.localhost:8080/ or by a Host header
whose first label is its name.

With --wait it also waits until minReplicas replicas are ready.")]
pub(super) struct Deploy {
    /// An .onnx file, a directory with a model.onnx in it, or an image
    #[arg(required_unless_present = "file", value_name = "PATH|IMAGE")]
    what: Option<String>,
    /// A file of manifests: InferenceService, Knative Service or Pod; `-` reads stdin
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["what", "name"])]
    file: Option<PathBuf>,
    /// What to call the endpoint [default: after the file or the image]
    #[arg(long)]
    name: Option<String>,
    /// A V2 inference request as JSON, up to 4 MiB, to compare the optimised model with the original on
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Wait until minReplicas replicas are ready
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    container: ContainerFlags,
}

/// Deploys several models and says `ready`; `dormouse serve` starts it
#[derive(Debug, Args)]
pub(super) struct DeployAll {
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[arg(long)]
    name: Option<String>,
}

impl Deploy {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        for source in self.sources()? {
            let deployed = self.deploy(client, &source).await?;
            if self.wait {
                wait(client, source.name()).await?;
            }
            if common.json { print_json(&deployed)? } else { tell(&deployed)? }
        }
        Ok(())
    }

    fn sources(&self) -> Result<Vec<Source>, CommandError> {
        let name = self.name.as_deref();
        let sources = match (&self.file, &self.what) {
            (Some(_), _) if self.container.is_used() => {
                return Err(CommandError::Usage("a manifest says itself what these options are for"));
            }
            (Some(file), _) => of_manifests(file)?,
            (None, Some(what)) => match Named::read(what)? {
                Named::Image(image) => {
                    let mut source = Source::of_container(self.container.container(image), name)?;
                    self.container.limit(&mut source.endpoint);
                    vec![source]
                }
                Named::Path(_) if self.container.is_for_images() => {
                    return Err(CommandError::Usage(
                        "--port, --h2c, --contract, --env and arguments are for images, and this is a path",
                    ));
                }
                Named::Path(path) => {
                    let mut source = of_path(&path, name)?;
                    self.container.limit(&mut source.endpoint);
                    vec![source]
                }
            },
            (None, None) => return Err(CommandError::Usage("name a PATH or an IMAGE, or a manifest with -f FILE")),
        };
        let is_for_one_model = matches!(sources.as_slice(), [Source { content: Content::Model(_), .. }]);
        if self.sample.is_some() && !is_for_one_model {
            return Err(CommandError::Usage("--sample is for one model"));
        }
        Ok(sources)
    }

    async fn deploy(&self, client: &Client, source: &Source) -> Result<DeployEvent, CommandError> {
        match &source.content {
            Content::Model(path) => deploy_model(client, source, path, self.sample.as_deref()).await,
            Content::Image(image) => deploy_image(client, source, image).await,
        }
    }
}

impl DeployAll {
    pub(super) async fn run(self, client: &Client) -> Result<(), CommandError> {
        let name = self.name.as_deref();
        let sources = self.paths.iter().map(|path| Ok((path, of_path(path, name)?)));
        let sources = sources.collect::<Result<Vec<_>, CommandError>>()?;
        for (index, (_, source)) in sources.iter().enumerate() {
            if sources.iter().take(index).any(|(_, earlier)| earlier.endpoint.name == source.endpoint.name) {
                return Err(CommandError::NamedTwice { name: source.name().to_owned() });
            }
        }
        for (path, source) in &sources {
            tell(&deploy_model(client, source, path, None).await?)?;
        }
        eprintln!("ready");
        Ok(())
    }
}

async fn deploy_model(
    client: &Client,
    source: &Source,
    path: &Path,
    sample: Option<&Path>,
) -> Result<DeployEvent, CommandError> {
    let files = open_model(path)?;
    let sample = sample.map(open_sample).transpose()?;
    let (entries, mut descriptors): (Vec<_>, Vec<_>) =
        files.into_iter().map(|file| (FileEntry { path: file.path.to_string() }, file.file)).unzip();
    let order = DeployOrder { endpoint: source.endpoint.clone(), files: entries, sample: sample.is_some() };
    descriptors.extend(sample);
    let mut progress = Progress::of_a_model(source.name());
    Ok(client.deploy(&order, descriptors, |step| progress.tell(step)).await?)
}

async fn deploy_image(client: &Client, source: &Source, image: &ImageReference) -> Result<DeployEvent, CommandError> {
    let order = DeployOrder { endpoint: source.endpoint.clone(), files: Vec::new(), sample: false };
    match client.image(image).await {
        Ok(_) => {}
        Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
            match pull(client, image.clone()).await {
                // The node knows why. It fails for the same reason, which is then seen of the endpoint too: in `status`, and by
                // its callers.
                Err(failed @ CommandError::Client(ClientError::Refused { .. })) => {
                    return client.deploy(&order, Vec::new(), |_| {}).await.map_err(|_| failed);
                }
                pulled => drop(pulled?),
            }
        }
        Err(error) => return Err(error.into()),
    }
    let mut progress = Progress::of_an_image(source.name());
    Ok(client.deploy(&order, Vec::new(), |step| progress.tell(step)).await?)
}

/// Opens the sample. One that is no file would keep this command waiting for whoever writes it.
fn open_sample(path: &Path) -> Result<OwnedFd, CommandError> {
    let failed = |source| CommandError::Read { what: path.display().to_string(), source };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let found = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
    if !FileType::from_raw_mode(found.st_mode).is_file() {
        return Err(failed(std::io::Error::other("it is no regular file")));
    }
    Ok(opened)
}

fn tell(deployed: &DeployEvent) -> Result<(), CommandError> {
    match deployed {
        DeployEvent::Deployed { name, url, preparation, image, .. } => {
            if let Some(Preparation::Original { reason }) = preparation {
                eprintln!("{name}: not prepared, the original serves: {reason}");
            }
            // What everybody expects is not worth a word.
            if let Some(contract) = image.as_ref().map(|image| &image.contract)
                && contract.name != Contract::Knative
            {
                eprintln!("{name}: its contract is {}: {}", contract.name, contract.why);
            }
            print_line(format!("{name}  {url}"))
        }
        _ => Ok(()),
    }
}
