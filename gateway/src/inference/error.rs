use dormouse_controller::{AcquireError, LossCause};
use dormouse_spec::Bytes;

/// Why a client gets no answer from a model or an image. `status` turns it into what the client sees.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("this path takes {allow}")]
    Method { allow: &'static str },
    #[error("there is no model named `{0}`")]
    NoSuchModel(String),
    #[error("model `{model}` has no version `{asked}`: it serves version `{serving}`")]
    NoSuchVersion { model: String, asked: String, serving: u32 },
    #[error("{0} is not served")]
    NotServed(&'static str),
    #[error("the body is larger than {limit}")]
    BodyTooLarge { limit: Bytes },
    #[error("the body could not be read")]
    BodyUnreadable(#[source] hyper::Error),
    #[error("the body came too slowly")]
    BodyTooSlow,
    #[error("the body broke off")]
    BodyBroken,
    #[error("the body is no JSON of this request")]
    Malformed(#[source] serde_json::Error),
    #[error("model `{model}` is not ready: {reason}")]
    NotReady { model: String, reason: &'static str },
    #[error("the server is draining")]
    Draining,
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    #[error("no replica could be reached")]
    Unreachable(#[source] UnsentCause),
    #[error("the deadline passed in the inference")]
    DeadlineInInference,
    #[error("the deadline passed in the replica")]
    DeadlineInReplica,
    #[error("the replica ended after the request was sent: {0}")]
    ReplicaDied(LossCause),
    #[error("the replica broke off after the request was sent")]
    ReplicaBroke(#[source] hyper::Error),
    #[error("the replica switched protocols without being asked to")]
    SwitchedUnasked,
    #[error("the metrics could not be written")]
    Metrics(#[source] prometheus::Error),
}

/// Why a replica that was granted got not a byte of the request.
#[derive(Debug, thiserror::Error)]
pub enum UnsentCause {
    #[error("connecting to its socket failed")]
    Connect(#[source] std::io::Error),
    #[error("its connection could not be used")]
    Handshake(#[source] hyper::Error),
    #[error("it ended: {0}")]
    Died(LossCause),
}

impl UnsentCause {
    /// Whether nothing listens where the replica was to; a worker's socket may be removed with it already.
    pub(super) fn is_refusal(&self) -> bool {
        use std::io::ErrorKind;
        matches!(self, Self::Connect(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound))
    }
}
