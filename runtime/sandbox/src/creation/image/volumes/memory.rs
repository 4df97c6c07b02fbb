//! An empty directory in memory of the replica's control group, which this process is in.

use std::{fs, path::Path};

use nix::mount::{MsFlags, mount};

use super::{VolumeError, io_failed};

/// Files and directories in it: one for so many bytes, and so many at least.
const BYTES_AN_INODE: u64 = 4 << 10;
const INODES_MIN: u64 = 1_024;
/// Of a tmpfs, no size is no limit.
const BYTES_MIN: u64 = 4 << 10;

/// Everybody in the container may write to it, as with Kubernetes.
pub(super) fn make(place: &Path, bytes: u64, owner: u32) -> Result<(), VolumeError> {
    fs::create_dir(place).map_err(io_failed("making a place for it"))?;
    let inodes = (bytes / BYTES_AN_INODE).max(INODES_MIN);
    let size = bytes.max(BYTES_MIN);
    let options = format!("mode=0777,uid={owner},gid={owner},size={size},nr_inodes={inodes}");
    mount(Some("dormouse"), place, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
        .map_err(io_failed("mounting a tmpfs"))
}
