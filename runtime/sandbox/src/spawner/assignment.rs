//! What a worker is told to serve.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;

use serde::Serialize;

use crate::{
    channel::{self, ChannelError},
    messages::ReplicaSpec,
    rootfs::MODEL_DIRECTORY,
};

/// One message with the listening socket attached, and after it the model where that comes as a
/// descriptor.
#[derive(Debug, Serialize)]
pub(super) struct Assignment {
    name: String,
    version: String,
    /// The best one first.
    sources: Vec<ModelSource>,
    intra_op_threads: u32,
    body_bytes_max: u64,
    concurrency: u32,
}

/// Where the worker finds its model.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum ModelSource {
    /// A file in the container; external data lies beside it.
    OnnxFile { path: String },
    /// The next descriptor is the file.
    OnnxDescriptor {},
}

impl ModelSource {
    /// In the directory that was mounted when the container was made.
    pub(super) fn mounted() -> Self {
        Self::OnnxFile { path: format!("{MODEL_DIRECTORY}/model.onnx") }
    }
}

impl Assignment {
    pub(super) fn of(spec: &ReplicaSpec, model: ModelSource) -> Self {
        Self {
            name: spec.replica.endpoint().to_string(),
            version: spec.replica.revision().to_string(),
            sources: vec![model],
            intra_op_threads: spec.intra_op_threads,
            body_bytes_max: spec.body_bytes_max,
            concurrency: spec.concurrency,
        }
    }
}

pub(super) fn send(
    channel: BorrowedFd<'_>,
    assignment: &Assignment,
    listener: &UnixListener,
    model: Option<BorrowedFd<'_>>,
) -> Result<(), ChannelError> {
    let descriptors: Vec<_> = std::iter::once(listener.as_fd()).chain(model).collect();
    channel::send(channel, assignment, &descriptors)
}
