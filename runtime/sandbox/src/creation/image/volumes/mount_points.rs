//! Where volumes are mounted. An image may have anything there, or nothing; every part of the path becomes a directory of
//! ours above the image's, which looks as the image's own does where there is one.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::lchown},
    path::{Component, Path, PathBuf},
};

use dormouse_spec::MountPath;
use rustix::{fs::OFlags, io::Errno};

use super::{
    super::{
        super::{CreationError, failed},
        furniture, open_inside, open_root, place_of,
    },
    create_dir,
};

/// What is mounted in every container, and by a volume in its place.
const SHARED_MEMORY: &str = "/dev/shm";
/// Where nothing is mounted that is not the kernel's, or ours.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Makes the place of a mount in `furniture`, for an image that is to be seen at `view`. What is told is where that
/// is, links of the image's followed.
pub(crate) fn make(
    view: &Path,
    furniture: &Path,
    at: &MountPath,
    is_file: bool,
    owner: u32,
) -> Result<PathBuf, CreationError> {
    if at.as_str() == SHARED_MEMORY {
        return Ok(at.as_str().into());
    }
    let refused = |source: Errno| CreationError::MountPoint { at: at.clone(), source: source.into() };
    let root = open_root(view)?;
    let mut found = PathBuf::from("/");
    let mut parts = at.as_str().split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let is_file = is_file && parts.peek().is_none();
        let next = found.join(part);
        match open_inside(&root, &next.to_string_lossy(), kind(is_file)) {
            Ok(opened) => {
                found = place_of(&opened, &root).map_err(failed("looking at", &next))?;
                imitate(&root, furniture, &found, is_file)?;
            }
            // A link that leads nowhere is there, and nothing can be made where it leads.
            Err(Errno::NOENT) if !is_there(view, &next) => {
                found = next;
                let made = furniture.join(below_root(&found));
                make_one(&made, is_file)?;
                lchown(&made, Some(owner), Some(owner)).map_err(failed("giving away", &made))?;
            }
            Err(source) => return Err(refused(source)),
        }
    }
    // Wherever the image's links lead: what the kernel has there is a part of the confinement.
    if found == Path::new("/") || KERNELS.iter().any(|place| found.starts_with(place)) {
        return Err(refused(Errno::PERM));
    }
    Ok(found)
}

fn kind(is_file: bool) -> OFlags {
    if is_file { OFlags::PATH } else { OFlags::PATH | OFlags::DIRECTORY }
}

/// The same in a directory that holds nothing else. No part of `below` may lead anywhere but down.
pub(crate) fn make_all(place: &Path, below: &Path, is_file: bool, owner: u32) -> Result<(), CreationError> {
    let mut made = place.to_owned();
    let mut parts = below.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(part) = part else {
            return Err(failed("making", below)(io::Error::other("it leads out of its volume")));
        };
        made.push(part);
        make_one(&made, is_file && parts.peek().is_none())?;
        lchown(&made, Some(owner), Some(owner)).map_err(failed("giving away", &made))?;
    }
    Ok(())
}

fn make_one(path: &Path, is_file: bool) -> Result<(), CreationError> {
    if !is_file {
        return create_dir(path);
    }
    match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            Err(failed("making", path)(io::Error::other("there is a directory, and the volume is a file")))
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("making", path)(error)),
        _ => Ok(()),
    }
}

/// Makes `found`, which is no link and behind none, and every directory on the way to it as the image has them.
fn imitate(root: &OwnedFd, furniture: &Path, found: &Path, is_file: bool) -> Result<(), CreationError> {
    let mut on_the_way: Vec<&Path> = found.ancestors().collect();
    on_the_way.reverse();
    for path in on_the_way {
        let made = furniture.join(below_root(path));
        if made.symlink_metadata().is_ok() {
            continue;
        }
        let is_file = is_file && path == found;
        let opened = open_inside(root, &path.to_string_lossy(), kind(is_file)).map_err(failed("opening", path))?;
        let metadata = File::from(opened).metadata().map_err(failed("looking at", path))?;
        make_one(&made, is_file)?;
        furniture::like(&made, &metadata)?;
    }
    Ok(())
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn is_there(view: &Path, path: &Path) -> bool {
    view.join(below_root(path)).symlink_metadata().is_ok()
}
