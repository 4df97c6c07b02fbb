//! The directory that a process of an image begins in. An image may name anything there, or nothing.

use std::path::{Component, Path, PathBuf};

use nix::{
    fcntl::AtFlags,
    unistd::{Gid, Uid, fchownat},
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    super::{CreationError, failed},
    open_inside, open_root, place_of,
    volumes::Placed,
};
#[cfg(weakened)]
use crate::defence::Defence;
use crate::messages::ImagePayload;

/// What is not the image's whatever is in it.
const OF_THE_KERNEL: [&str; 4] = ["/dev", "/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu"];
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// As runc does, one that the image lacks is made, where it can be: in a root that can be written to, or in a volume that
/// hides what the root has there and holds nothing else. Of any other libcontainer would fail with a number alone.
pub(super) fn prepare(
    payload: &ImagePayload,
    root: &Path,
    volumes: &[Placed<'_>],
    owner: u32,
) -> Result<(), CreationError> {
    let asked = &payload.working_dir;
    if OF_THE_KERNEL.iter().any(|place| Path::new(asked).starts_with(place)) {
        return Ok(());
    }
    let found = lead_to_volumes(root, asked, volumes)?;
    let within = volumes.iter().rev().find(|volume| found.starts_with(&volume.seen_at));
    let Some(volume) = within else { return make(root, Path::new(asked), asked, payload.read_only_root, owner) };
    let below = found.strip_prefix(&volume.seen_at).unwrap_or(Path::new(""));
    // In others it is or is not there.
    if below.as_os_str().is_empty() || !volume.is_empty() {
        return Ok(());
    }
    #[cfg(weakened)]
    if !Defence::VolumesLookedUpWithin.stands() {
        let below = Path::new(asked).strip_prefix(&volume.seen_at).unwrap_or(below);
        return crate::defence::weakened::make_by_name(&volume.place, below, owner).map_err(failed("making", below));
    }
    make(&volume.place, below, asked, false, owner)
}

/// Where a path of the image's leads, its links followed up to the first volume: what the image has there is hidden.
fn lead_to_volumes(root: &Path, asked: &str, volumes: &[Placed<'_>]) -> Result<PathBuf, CreationError> {
    let root = open_root(root)?;
    let mut found = PathBuf::from("/");
    let mut parts = Path::new(asked).components();
    // The root.
    parts.next();
    while !volumes.iter().any(|volume| volume.seen_at == found) {
        let Some(part) = parts.next() else { break };
        let next = found.join(part);
        found = match open_inside(&root, &next.to_string_lossy(), DIRECTORY) {
            Ok(opened) => place_of(&opened, &root).map_err(failed("looking at", &next))?,
            // What is wrong with it, if anything is, is told by who makes it.
            Err(_) => next,
        };
    }
    Ok(found.join(parts.as_path()))
}

/// Makes what is missing of `path` in a root that is somebody's: no link and no name leads out of it.
fn make(root: &Path, path: &Path, asked: &str, is_read_only: bool, owner: u32) -> Result<(), CreationError> {
    let refused = |source: Errno| CreationError::WorkingDirectory { path: asked.to_owned(), source: source.into() };
    let root = open_root(root)?;
    let mut reached = PathBuf::from("/").join(path);
    match open_inside(&root, &reached.to_string_lossy(), DIRECTORY) {
        Err(Errno::NOENT) if !is_read_only => {}
        opened => return opened.map(drop).map_err(refused),
    }
    let mut parent = root.try_clone().map_err(failed("duplicating the root of", path))?;
    reached.clear();
    reached.push("/");
    for part in path.components().filter(|part| *part != Component::RootDir) {
        reached.push(part);
        let opened = open_inside(&root, &reached.to_string_lossy(), DIRECTORY);
        parent = match opened {
            // A link that leads nowhere is in the way here, and told as such.
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o755)).map_err(refused)?;
                let made = open_inside(&root, &reached.to_string_lossy(), DIRECTORY).map_err(refused)?;
                let owner = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
                fchownat(&made, "", owner.0, owner.1, AtFlags::AT_EMPTY_PATH).map_err(failed("giving away", path))?;
                made
            }
            opened => opened.map_err(refused)?,
        };
    }
    Ok(())
}
