use std::{io, path::PathBuf, process::ExitCode};

use dormouse_image::OpenError;
use dormouse_sandbox::spawner::SpawnerError;
use dormouse_spec::{Bytes, DefaultNameError, ImageReferenceError, NameError, manifest::ManifestError};
use http::StatusCode;

use crate::{admin::ClientError, config::ConfigError, node::NodeError};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("{0}")]
    Usage(&'static str),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Spawner(#[from] SpawnerError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    NameGiven(#[from] dormouse_spec::NameError),
    #[error("give it a name with --name")]
    Name(#[from] DefaultNameError),
    #[error("`{image}` gives no endpoint name: give it one with --name")]
    ImageName {
        image: String,
        #[source]
        source: NameError,
    },
    #[error("`{text}` is no file and no image")]
    NeitherPathNorImage {
        text: String,
        #[source]
        source: ImageReferenceError,
    },
    #[error("two of the models would be called `{name}`: serve them from files of different names")]
    NamedTwice { name: String },
    #[error("reading {what} failed")]
    Read {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("writing {what} failed")]
    Write {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("your credentials for the registry cannot be used")]
    Credentials(#[source] dormouse_image::registry::CredentialsError),
    #[error("{file} is larger than {limit}", file = file.display())]
    TooLarge { file: PathBuf, limit: Bytes },
    #[error("{file} cannot be deployed", file = file.display())]
    Manifest {
        file: PathBuf,
        #[source]
        source: ManifestError,
    },
    #[error("`{name}` was deployed, but its replicas did not become ready: {reason}")]
    NotReady { name: String, reason: String },
    #[error("calling {url} failed")]
    Call {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{status}: {message}")]
    Answer { status: StatusCode, message: String },
    #[error("the model's metadata is not understood")]
    Metadata(#[source] serde_json::Error),
    #[error("zeros of this model's shape are not possible: {0}")]
    Zeros(String),
    #[error("starting the runtime failed")]
    Runtime(#[source] io::Error),
    #[error("writing to stdout failed")]
    Output(#[source] io::Error),
    #[error("writing JSON failed")]
    Json(#[source] serde_json::Error),
}

const FAILED: u8 = 1;
/// As clap exits where the command line cannot be parsed.
const WRONG_USAGE: u8 = 2;

impl CommandError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_)
            | Self::Name(_)
            | Self::NameGiven(_)
            | Self::ImageName { .. }
            | Self::NeitherPathNorImage { .. }
            | Self::NamedTwice { .. } => WRONG_USAGE.into(),
            // Whoever reads the results has seen enough: `dormouse ls | head -1`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => FAILED.into(),
        }
    }
}
