//! Making a replica of a blank.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::net::UnixListener},
    path::Path,
};

use dormouse_spec::Digest;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::{
    assignment::{self, Assignment, ModelSource},
    listeners::{ListenError, listen_unix},
    sandbox::{Sandbox, Workshop},
};
use crate::{cgroup::CgroupError, channel::ChannelError, defence::Defence, messages::ReplicaSpec};

/// The file of a stored model that is the model itself.
const MODEL_FILE: &str = "model.onnx";

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// A directory with more than these is not looked through: it has others.
const ENTRIES_LOOKED_AT: usize = 4;

/// Why a blank could not become a replica.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("its limits could not be changed")]
    Limits(#[from] CgroupError),
    #[error("it could not be told its assignment")]
    Tell(#[from] ChannelError),
}

/// What a blank is given: all but the blank itself.
#[derive(Debug)]
pub(super) struct Claiming {
    listener: UnixListener,
    model: File,
    assignment: Assignment,
}

impl Claiming {
    /// `None` where the model cannot be handed over as one file; then it has to be mounted.
    pub(super) fn prepare(workshop: &Workshop<'_>, spec: &ReplicaSpec) -> Result<Option<Self>, ListenError> {
        // What is wrong with it is told by the creation that follows.
        let Some(model) = open_only_file(workshop.store, &spec.model).ok().flatten() else { return Ok(None) };
        let listener = listen_unix(&workshop.instance.socket_of(spec.replica.as_str()), workshop.node_gid)?;
        let assignment = Assignment::of(spec, ModelSource::OnnxDescriptor {});
        Ok(Some(Self { listener, model, assignment }))
    }

    /// The limits first: what the worker does from its assignment on is the replica's.
    pub(super) fn assign(&self, blank: &mut Sandbox, spec: &ReplicaSpec) -> Result<(), ClaimError> {
        blank.set_limits(&spec.limits)?;
        let channel = blank.channel().ok_or(ChannelError::Closed)?;
        Ok(assignment::send(channel, &self.assignment, &self.listener, Some(self.model.as_fd()))?)
    }
}

/// The model, where it is one file and needs no other beside it. The node owns what is in the store:
/// no link is followed, and nothing that could make the spawner wait is waited for.
fn open_only_file(store: &Path, model: &Digest) -> io::Result<Option<File>> {
    let stands = Defence::OpenedBeneath.stands();
    let beneath = if stands { BENEATH } else { ResolveFlags::empty() };
    let no_follow = if stands { OFlags::NOFOLLOW } else { OFlags::empty() };
    let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let store_directory = rustix::fs::open(store, path_only, Mode::empty())?;
    let name = model.directory_name();
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | no_follow;
    let directory = rustix::fs::openat2(&store_directory, &name, directory, Mode::empty(), beneath)?;
    if !is_alone(&directory)? {
        return Ok(None);
    }
    let read = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::openat2(&directory, MODEL_FILE, read, Mode::empty(), beneath)?;
    let is_file = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile;
    Ok(is_file.then(|| file.into()))
}

/// Whether the model's file is the only one.
fn is_alone(directory: impl AsFd) -> io::Result<bool> {
    let mut others = 0;
    for entry in rustix::fs::Dir::read_from(directory)?.take(ENTRIES_LOOKED_AT) {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        others += usize::from(![b".".as_slice(), b"..", MODEL_FILE.as_bytes()].contains(&name));
    }
    Ok(others == 0)
}
