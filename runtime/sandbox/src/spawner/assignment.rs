//! What a worker is told to do, and where it finds its model.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;

use super::sandbox::Workshop;
use crate::{
    channel::{self, ChannelError},
    error_chain,
    messages::{ModelPayload, ReplicaId, Work},
    rootfs::MODEL_DIRECTORY,
    stored,
};

/// One message with the listening socket attached, where there is one, and after it the sources that are descriptors, in
/// their order.
#[derive(Debug, Serialize)]
pub(super) struct Assignment {
    name: String,
    version: String,
    work: AssignedWork,
    /// The best one first.
    sources: Vec<ModelSource>,
    intra_op_threads: u32,
    body_bytes_max: u64,
    concurrency: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum AssignedWork {
    Serve,
    Template,
    Prepare,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum ModelSource {
    /// A file in the container; external data lies beside it.
    OnnxFile { path: String },
    /// The model as it was deployed, all of it in one file.
    OnnxDescriptor {},
    /// The model in ORT format.
    OrtDescriptor {},
}

/// Where a model is: what was prepared of it, and the original for where that cannot be loaded.
#[derive(Debug)]
pub(super) struct Sources {
    prepared: Option<OwnedFd>,
    original: Original,
}

#[derive(Debug)]
enum Original {
    /// In the directory that is mounted when the container is made.
    Mounted,
    Open(OwnedFd),
    /// It has data beside it and can only be mounted.
    OutOfReach,
}

impl Sources {
    /// For a container that is made with the model in it.
    pub(super) fn mounted(workshop: &Workshop<'_>, replica: &ReplicaId, payload: &ModelPayload) -> Self {
        Self { prepared: open_prepared(workshop, replica, payload), original: Original::Mounted }
    }

    /// For one that was made before it was known which. `None` where nothing can be handed over; what is
    /// wrong with the model, if anything, is told by the creation that follows.
    pub(super) fn by_descriptor(workshop: &Workshop<'_>, replica: &ReplicaId, payload: &ModelPayload) -> Option<Self> {
        let Work::Serve { .. } = payload.work else { return None };
        let is_one_file = stored::is_one_file(workshop.store, &payload.model).ok()?;
        let original = if is_one_file {
            Original::Open(stored::open(workshop.store, &payload.model, stored::ORIGINAL).ok()?)
        } else {
            Original::OutOfReach
        };
        let prepared = open_prepared(workshop, replica, payload);
        let is_enough = prepared.is_some() || is_one_file;
        is_enough.then_some(Self { prepared, original })
    }

    fn named(&self) -> Vec<ModelSource> {
        let prepared = self.prepared.as_ref().map(|_| ModelSource::OrtDescriptor {});
        let original = match self.original {
            Original::Mounted => {
                Some(ModelSource::OnnxFile { path: format!("{MODEL_DIRECTORY}/{}", stored::ORIGINAL) })
            }
            Original::Open(_) => Some(ModelSource::OnnxDescriptor {}),
            Original::OutOfReach => None,
        };
        prepared.into_iter().chain(original).collect()
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let original = match &self.original {
            Original::Open(file) => Some(file),
            Original::Mounted | Original::OutOfReach => None,
        };
        self.prepared.iter().chain(original).map(AsFd::as_fd)
    }
}

/// One that is not there, or is not what it should be, costs time and nothing else.
fn open_prepared(workshop: &Workshop<'_>, replica: &ReplicaId, payload: &ModelPayload) -> Option<OwnedFd> {
    let (Work::Serve { prepared: Some(name) } | Work::Template { prepared: name }) = &payload.work else { return None };
    let opened = stored::open(workshop.prepared, name, stored::PREPARED).inspect_err(|error| {
        let replica = replica.as_str();
        tracing::warn!(replica, "the original model serves: {}", error_chain::one_line(error));
    });
    opened.ok()
}

impl Assignment {
    pub(super) fn of(replica: &ReplicaId, payload: &ModelPayload, concurrency: u32, sources: &Sources) -> Self {
        Self {
            name: replica.endpoint().to_string(),
            version: replica.revision().to_string(),
            work: match payload.work {
                Work::Serve { .. } | Work::Fork { .. } => AssignedWork::Serve,
                Work::Template { .. } => AssignedWork::Template,
                Work::Prepare {} => AssignedWork::Prepare,
            },
            sources: sources.named(),
            intra_op_threads: payload.intra_op_threads,
            body_bytes_max: payload.body_bytes_max,
            concurrency,
        }
    }
}

pub(super) fn send(
    channel: BorrowedFd<'_>,
    assignment: &Assignment,
    listener: Option<BorrowedFd<'_>>,
    sources: &Sources,
) -> Result<(), ChannelError> {
    let descriptors: Vec<_> = listener.into_iter().chain(sources.descriptors()).collect();
    channel::send(channel, assignment, &descriptors)
}
