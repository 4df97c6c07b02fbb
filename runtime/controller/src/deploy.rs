mod model;
mod probe;
mod procedure;
mod signature;

use std::os::fd::OwnedFd;

use dormouse_spec::{Bytes, Digest, EndpointName, EndpointRequest};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    ImageError, Preparation, ServedImage,
    revision::{Content, ModelContent, Revision},
};

pub(crate) use procedure::{Deploys, collect_garbage};

/// One file of a model, opened by the caller with the caller's rights.
#[derive(Debug)]
pub struct ModelFile {
    /// Relative to the model's directory: `model.onnx`, or what external data is called in it.
    pub path: String,
    pub file: OwnedFd,
}

#[derive(Debug)]
pub struct DeployRequest {
    pub endpoint: EndpointRequest,
    pub files: Vec<ModelFile>,
    /// A V2 inference request as JSON, to verify the prepared model on.
    pub sample: Option<OwnedFd>,
}

/// A step of a deploy that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum DeployStep {
    /// Copying into the store and hashing.
    Storing { bytes_done: u64, bytes_total: u64 },
    /// One confined replica loads the model and tells its signature.
    Probing,
    /// Another one optimises it, and sees whether that changes its answers.
    Preparing,
    /// Desired state is being written: the commit point.
    Committing,
}

pub type DeployProgress = mpsc::Sender<DeployStep>;

#[derive(Debug, Clone)]
pub struct Deployed {
    pub name: EndpointName,
    pub revision: u32,
    pub content: DeployedContent,
}

/// What serves now.
#[derive(Debug, Clone)]
pub enum DeployedContent {
    Model { model: Digest, bytes: Bytes, preparation: Preparation },
    Image(ServedImage),
}

impl Deployed {
    fn of(revision: &Revision) -> Self {
        let content = match &revision.content {
            Content::Image(image) => DeployedContent::Image(image.served.clone()),
            Content::Model(ModelContent { model, bytes, preparation, .. }) => {
                DeployedContent::Model { model: *model, bytes: *bytes, preparation: preparation.clone() }
            }
        };
        Self { name: revision.endpoint.name.clone(), revision: revision.number, content }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Wrong request: bounds, file names, a name that is another endpoint's alias. 400.
    #[error("{0}")]
    Invalid(String),
    /// The model itself: ONNX Runtime refused it. The previous revision keeps serving. 422.
    #[error("the model cannot be served: {reason}")]
    Model { reason: String },
    /// The image itself, or its first replica: it did not come to take requests. The previous revision keeps
    /// serving. 422.
    #[error("the image cannot be served: {reason}")]
    Image { reason: String },
    /// The image is not there, or something of it is not. As pulls tell it.
    #[error(transparent)]
    ImageStore(Box<ImageError>),
    /// No replica of this can ever fit the node. 409.
    #[error("one replica needs {needs} of memory, the node's budget is {budget}: {} is short", needs.saturating_sub(*budget))]
    NeverFits { needs: Bytes, budget: Bytes },
    /// Another deploy or delete of this endpoint runs. 409.
    #[error("`{0}` is being deployed or deleted already")]
    Busy(EndpointName),
    #[error("the daemon is ending")]
    Draining,
    /// Disk, spawner. 500.
    #[error("{operation} failed")]
    Failed {
        operation: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("there is no endpoint named `{0}`")]
    NotFound(EndpointName),
    #[error("`{0}` is being deployed or deleted already")]
    Busy(EndpointName),
    #[error("{operation} failed")]
    Failed {
        operation: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<ImageError> for DeployError {
    fn from(error: ImageError) -> Self {
        Self::ImageStore(Box::new(error))
    }
}
