//! The layer above an image's own: every place where something is mounted, and the files that tell a container who it is.
//!
//! Each is a real directory or file of ours, so whatever an image has of the same name, a link above all, is hidden.

use std::{
    fs::{self, Metadata, Permissions},
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use super::super::{CreationError, failed};

const DIRECTORIES: [(&str, u32); 7] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("mnt", 0o755),
    ("mnt/models", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("tmp", 0o1777),
];

/// Fills the empty directory `place`. `topmost` is the root of the image's last layer, whose mode and owner are those
/// of the whole root; `owner` is the container's root.
pub(super) fn furnish(
    place: &Path,
    owner: u32,
    hostname: &str,
    nameserver: Option<Ipv4Addr>,
    topmost: &Metadata,
) -> Result<(), CreationError> {
    for (name, mode) in DIRECTORIES {
        let path = place.join(name);
        fs::create_dir(&path).map_err(failed("making", &path))?;
        give(&path, mode, owner)?;
    }
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t{hostname}\n");
    let resolver = nameserver.map(|address| format!("nameserver {address}\n")).unwrap_or_default();
    let hostname = format!("{hostname}\n");
    for (name, text) in [("etc/hosts", &hosts), ("etc/hostname", &hostname), ("etc/resolv.conf", &resolver)] {
        let path = place.join(name);
        fs::write(&path, text).map_err(failed("writing", &path))?;
        give(&path, 0o644, owner)?;
    }
    like(place, topmost)
}

/// The same mode and owner.
pub(super) fn like(path: &Path, other: &Metadata) -> Result<(), CreationError> {
    chown(path, Some(other.uid()), Some(other.gid())).map_err(failed("giving away", path))?;
    set_mode(path, other.mode() & 0o7777)
}

pub(super) fn give(path: &Path, mode: u32, owner: u32) -> Result<(), CreationError> {
    chown(path, Some(owner), Some(owner)).map_err(failed("giving away", path))?;
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), CreationError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("setting the mode of", path))
}
