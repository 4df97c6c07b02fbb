//! From a path or a manifest to an endpoint: files are opened here, with the caller's rights.

use std::{
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use dormouse_image::open_model;
use dormouse_spec::{
    Bytes, DefaultName, EndpointRequest,
    manifest::{self, MANIFEST_BYTES_MAX},
};

use super::{
    CommandError, Common,
    output::{print_json, print_line, size},
};
use crate::admin::{
    Client,
    api::{Condition, DeployEvent, DeployOrder, EndpointStatus, FileEntry, Phase, Preparation},
};

/// How often a deploy that is waited for is looked at.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);
/// Each quarter of a model at least this large is told while it is stored.
const STORING_TOLD_BYTES: u64 = 256 << 20;

/// Make an endpoint of a model, or replace the model of one
#[derive(Debug, Args)]
#[command(override_usage = "dormouse deploy [OPTIONS] <PATH>\n       dormouse deploy [OPTIONS] -f <FILE>")]
#[command(after_help = "\
Examples:
  dormouse deploy silero_vad.onnx                 becomes the endpoint silero-vad
  dormouse deploy models/minilm --name embed      a directory with model.onnx and its external data
  dormouse deploy -f service.yaml --wait          a KServe InferenceService with a file:// model
  dormouse deploy bert.onnx --sample ask.json     compare the optimised model on this request

It returns when the model has been stored, loaded once in a confined replica to see that it can be,
and written down; a model that cannot be served leaves what served before. Before that, the model
is optimised for this machine in another confined replica, and answers the sample, or input made
from its signature, as the original does, bit for bit; otherwise the original serves, and `status`
says why. With --wait it also waits until minReplicas replicas are ready. The files are read with your rights, not the daemon's.")]
pub(super) struct Deploy {
    /// An .onnx file, or a directory with a model.onnx in it
    #[arg(required_unless_present = "file")]
    path: Option<PathBuf>,
    /// A file of KServe InferenceService manifests; `-` reads stdin
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["path", "name"])]
    file: Option<PathBuf>,
    /// What to call the endpoint [default: after the file]
    #[arg(long)]
    name: Option<String>,
    /// A V2 inference request as JSON, up to 4 MiB, to compare the optimised model with the original on
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Wait until minReplicas replicas are ready
    #[arg(long)]
    wait: bool,
}

/// Deploys several models and says `ready`; `dormouse serve` starts it
#[derive(Debug, Args)]
pub(super) struct DeployAll {
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[arg(long)]
    name: Option<String>,
}

/// What is to be deployed, and where its model is.
struct Source {
    endpoint: EndpointRequest,
    model: PathBuf,
}

impl Deploy {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let sources = match (&self.file, &self.path) {
            (Some(file), _) => of_manifests(file)?,
            (None, Some(path)) => vec![of_path(path, self.name.as_deref())?],
            (None, None) => return Err(CommandError::Usage("name a PATH, or a manifest with -f FILE")),
        };
        if self.sample.is_some() && sources.len() > 1 {
            return Err(CommandError::Usage("--sample is for one model"));
        }
        for source in sources {
            let deployed = deploy(client, &source, self.sample.as_deref()).await?;
            if self.wait {
                wait(client, source.endpoint.name.as_str()).await?;
            }
            if common.json { print_json(&deployed)? } else { tell(&deployed)? }
        }
        Ok(())
    }
}

impl DeployAll {
    pub(super) async fn run(self, client: &Client) -> Result<(), CommandError> {
        let name = self.name.as_deref();
        let sources = self.paths.iter().map(|path| of_path(path, name)).collect::<Result<Vec<_>, _>>()?;
        for (index, source) in sources.iter().enumerate() {
            if sources.iter().take(index).any(|earlier| earlier.endpoint.name == source.endpoint.name) {
                return Err(CommandError::NamedTwice { name: source.endpoint.name.to_string() });
            }
        }
        for source in &sources {
            tell(&deploy(client, source, None).await?)?;
        }
        eprintln!("ready");
        Ok(())
    }
}

fn of_path(path: &Path, name: Option<&str>) -> Result<Source, CommandError> {
    let endpoint = match name {
        Some(name) => EndpointRequest::named(name.parse().map_err(CommandError::NameGiven)?),
        None => {
            let absolute = std::path::absolute(path)
                .map_err(|source| CommandError::Read { what: path.display().to_string(), source })?;
            let DefaultName { name, alias } = DefaultName::of(&absolute)?;
            EndpointRequest { alias, ..EndpointRequest::named(name) }
        }
    };
    Ok(Source { endpoint, model: path.to_owned() })
}

fn of_manifests(file: &Path) -> Result<Vec<Source>, CommandError> {
    let manifests =
        manifest::parse(&read(file)?).map_err(|source| CommandError::Manifest { file: file.to_owned(), source })?;
    for manifest in &manifests {
        for note in &manifest.notes {
            eprintln!("{}: {note}", manifest.endpoint.name);
        }
    }
    let source = |manifest: manifest::Manifest| Source {
        endpoint: manifest.endpoint,
        model: manifest.storage.path().to_owned(),
    };
    Ok(manifests.into_iter().map(source).collect())
}

fn read(file: &Path) -> Result<String, CommandError> {
    let failed = |source| CommandError::Read { what: file.display().to_string(), source };
    let limit = MANIFEST_BYTES_MAX as u64;
    let mut text = String::new();
    let mut limited: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().take(limit + 1))
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?.take(limit + 1))
    };
    limited.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > limit {
        return Err(CommandError::TooLarge { file: file.to_owned(), limit: Bytes::new(limit) });
    }
    Ok(text)
}

/// Opens the sample. One that is no file would keep this command waiting for whoever writes it.
fn open_sample(path: &Path) -> Result<OwnedFd, CommandError> {
    let failed = |source| CommandError::Read { what: path.display().to_string(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is no regular file")));
    }
    Ok(std::fs::File::open(path).map_err(failed)?.into())
}

async fn deploy(client: &Client, source: &Source, sample: Option<&Path>) -> Result<DeployEvent, CommandError> {
    let files = open_model(&source.model)?;
    let sample = sample.map(open_sample).transpose()?;
    let (entries, mut descriptors): (Vec<_>, Vec<_>) =
        files.into_iter().map(|file| (FileEntry { path: file.path.to_string() }, file.file)).unzip();
    let order = DeployOrder { endpoint: source.endpoint.clone(), files: entries, sample: sample.is_some() };
    descriptors.extend(sample);
    let mut progress = Progress::default();
    let deployed =
        client.deploy(&order, descriptors, |step| progress.tell(source.endpoint.name.as_str(), step)).await?;
    Ok(deployed)
}

/// What was told of a deploy's steps.
#[derive(Default)]
struct Progress {
    quarters: Option<u64>,
}

impl Progress {
    fn tell(&mut self, name: &str, step: &DeployEvent) {
        match step {
            DeployEvent::Storing { bytes_done, bytes_total } => {
                let tellable = *bytes_total >= STORING_TOLD_BYTES;
                let quarters = if tellable { bytes_done.saturating_mul(4) / bytes_total } else { 0 };
                if self.quarters.replace(quarters) != Some(quarters) {
                    eprintln!("{name}: storing, {} of {}", size(*bytes_done), size(*bytes_total));
                }
            }
            DeployEvent::Probing => eprintln!("{name}: probing, one confined replica loads the model"),
            DeployEvent::Preparing => eprintln!("{name}: preparing, another one optimises it for this machine"),
            DeployEvent::Committing => eprintln!("{name}: committing"),
            DeployEvent::Deployed { .. } | DeployEvent::Failed { .. } => {}
        }
    }
}

fn tell(deployed: &DeployEvent) -> Result<(), CommandError> {
    match deployed {
        DeployEvent::Deployed { name, url, preparation, .. } => {
            if let Preparation::Original { reason } = preparation {
                eprintln!("{name}: not prepared, the original serves: {reason}");
            }
            print_line(format!("{name}  {url}"))
        }
        _ => Ok(()),
    }
}

/// Waits until the replicas that are always kept serve the new revision.
async fn wait(client: &Client, name: &str) -> Result<(), CommandError> {
    let began = Instant::now();
    loop {
        let status = client.endpoint(name).await?;
        if ready(&status) >= status.endpoint.min_replicas {
            return Ok(());
        }
        let failed = |reason: String| CommandError::NotReady { name: name.to_owned(), reason };
        if status.condition == Condition::Failed {
            return Err(failed(status.last_failure.unwrap_or_else(|| "no cause is known".to_owned())));
        }
        if began.elapsed() > status.endpoint.start_deadline {
            return Err(failed("the start deadline passed".to_owned()));
        }
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
}

fn ready(status: &EndpointStatus) -> u32 {
    let serves = |replica: &&crate::admin::api::ReplicaStatus| {
        replica.phase == Phase::Ready && replica.revision == status.revision
    };
    u32::try_from(status.replicas.iter().filter(serves).count()).unwrap_or(u32::MAX)
}
