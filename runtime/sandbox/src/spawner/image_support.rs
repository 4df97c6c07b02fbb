//! Whether this machine can show layers with the ids of a replica: tried once, before anything is served.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::wait::waitpid,
    unistd::chdir,
};
use rustix::fs::{Mode, OFlags};

use super::fork_child;
use crate::{
    creation::image::layers,
    error_chain,
    uids::{ImageIds, ImageRanges, RangeLease, Ranges, UidRange},
};

/// What is read of why it cannot, in bytes.
const REASON_BYTES_MAX: u64 = 1_024;

/// Why layers cannot be shown with other ids.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed")]
struct SupportError {
    operation: &'static str,
    source: io::Error,
}

/// Where ids of replicas of images come from on this machine. `layers` is where their files are; `scratch` an empty
/// directory to mount on.
pub(super) fn ranges(ids: ImageIds, workers: UidRange, layers: &Path, scratch: &Path) -> ImageRanges {
    let shared = |reason| ImageRanges::Shared { ids, reason };
    let mut ranges = match Ranges::open(ids, workers).map(ImageRanges::Distinct) {
        Ok(ranges) => ranges,
        Err(error) => return shared(error_chain::one_line(&error)),
    };
    match ranges
        .take()
        .map_err(|error| error_chain::one_line(&error))
        .and_then(|range| probe(ids, &range, layers, scratch))
    {
        Ok(()) => ranges,
        Err(reason) => shared(reason),
    }
}

/// In a child, whose mounts go with it.
fn probe(ids: ImageIds, range: &RangeLease, layers: &Path, scratch: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("trying it failed: {error}");
    let (mut reader, mut writer) = io::pipe().map_err(failed)?;
    let child = fork_child(&[writer.as_raw_fd()], || {
        let tried = mount_shown(ids, range, layers, scratch);
        let said = tried.map_or_else(|error| error_chain::one_line(&error), |()| String::new());
        i32::from(writer.write_all(said.as_bytes()).is_err())
    })
    .map_err(failed)?;
    drop(writer);
    let mut reason = String::new();
    let read = reader.by_ref().take(REASON_BYTES_MAX).read_to_string(&mut reason);
    let status = waitpid(child, None);
    read.map_err(failed)?;
    let has_ended_well = status.is_ok_and(|status| matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)));
    match reason.is_empty() {
        true if has_ended_well => Ok(()),
        true => Err("the process that tried it ended without a word".to_owned()),
        false => Err(reason),
    }
}

/// A small overlay over the directory of layers, shown with the ids of a replica.
fn mount_shown(ids: ImageIds, range: &RangeLease, layers: &Path, scratch: &Path) -> Result<(), SupportError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("leaving the mount namespace"))?;
    mount(Some("dormouse"), scratch, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None::<&str>)
        .map_err(failed("mounting a tmpfs"))?;
    for name in ["layer", "above", "root"] {
        fs::create_dir(scratch.join(name)).map_err(failed("making a directory"))?;
    }
    let shown_as = layers::shown_as(ids, range).map_err(failed("making a user namespace for an id map"))?;
    let opened = rustix::fs::open(layers, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("opening the directory of layers"))?;
    let tree = layers::clone(opened.as_fd(), shown_as.as_ref().map(AsFd::as_fd))
        .map_err(failed("showing files of the file system of layers with other ids (an idmapped mount)"))?;
    layers::attach(&tree, &scratch.join("layer")).map_err(failed("attaching a mount"))?;
    chdir(scratch).map_err(failed("entering a directory"))?;
    mount(Some("dormouse"), "root", Some("overlay"), MsFlags::MS_NODEV, Some("lowerdir=above:layer"))
        .map_err(failed("an overlay of what is shown with other ids (Linux 5.19 and newer can)"))?;
    File::open(scratch.join("root")).map(drop).map_err(failed("opening an overlay"))
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> SupportError {
    move |source| SupportError { operation, source: source.into() }
}
