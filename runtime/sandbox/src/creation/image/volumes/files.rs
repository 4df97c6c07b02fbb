//! Files of config maps and secrets: in memory, and belonging to who runs in the container.

use std::{
    fs::{self, File, Permissions},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, fchown},
    path::Path,
};

use dormouse_spec::{Digest, VolumeFile};
use nix::{
    mount::{MsFlags, mount},
    unistd::{SysconfVar, sysconf},
};

use super::{Runner, VolumeError, io_failed};
use crate::{messages::VOLUME_BYTES_MAX, stored};

/// The largest that Linux has.
const PAGE_BYTES_MAX: usize = 64 << 10;
const INODES_BESIDE_FILES: usize = 16;
const MODE_OF_DIRECTORIES: u32 = 0o755;
/// What a mode of a file may say.
const PERMISSIONS: u32 = 0o777;

pub(super) struct Contents(Vec<VolumeFile>);

impl Contents {
    /// The node wrote it, and could have written anything.
    pub(super) fn read(configs: &Path, contents: &Digest) -> Result<Self, VolumeError> {
        let file = File::from(stored::open_config(configs, contents)?);
        let mut bytes = Vec::new();
        file.take(VOLUME_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io_failed("reading its contents"))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > VOLUME_BYTES_MAX) {
            return Err(VolumeError::Large);
        }
        serde_json::from_slice(&bytes).map(Self).map_err(VolumeError::Damaged)
    }

    pub(super) fn make_directory(&self, place: &Path, runner: Runner) -> Result<(), VolumeError> {
        fs::create_dir(place).map_err(io_failed("making a place for it"))?;
        self.mount_memory(place, runner)?;
        for file in &self.0 {
            let path = place.join(file.path.as_str());
            for directory in directories_of(file.path.as_str()) {
                make_directory(&place.join(directory), runner)?;
            }
            write(&path, file, runner)?;
        }
        Ok(())
    }

    /// The only file, at the place itself.
    pub(super) fn make_file(&self, place: &Path, runner: Runner) -> Result<(), VolumeError> {
        let [file] = self.0.as_slice() else { return Err(VolumeError::NotOneFile(self.0.len())) };
        let around = place.with_extension("file");
        fs::create_dir(&around).map_err(io_failed("making a place for it"))?;
        self.mount_memory(&around, runner)?;
        let path = around.join("contents");
        write(&path, file, runner)?;
        File::create_new(place).map_err(io_failed("making a place for it"))?;
        mount(Some(&path), place, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(io_failed("binding it"))
    }

    fn mount_memory(&self, place: &Path, runner: Runner) -> Result<(), VolumeError> {
        let lengths = self.0.iter().map(|file| file.contents.bytes().len());
        let bytes = room_for(lengths, page_bytes());
        let parts: usize = self.0.iter().map(|file| file.path.as_str().split('/').count()).sum();
        let (inodes, owner) = (parts + INODES_BESIDE_FILES, runner.root);
        let options = format!("mode=0755,uid={owner},gid={owner},size={bytes},nr_inodes={inodes}");
        mount(Some("dormouse"), place, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
            .map_err(io_failed("mounting a tmpfs"))
    }
}

fn page_bytes() -> usize {
    let told = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    told.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(PAGE_BYTES_MAX)
}

/// What files of these lengths take in memory, which is whole pages, and one for each that the kernel notes of it.
fn room_for(lengths: impl Iterator<Item = usize>, page: usize) -> usize {
    lengths.map(|length| length.div_ceil(page) * page + page).sum::<usize>() + page
}

/// `a` and `a/b` of `a/b/c`.
fn directories_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(end, _)| path.get(..end))
}

fn make_directory(path: &Path, runner: Runner) -> Result<(), VolumeError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(io_failed("making a directory in it"))?,
    }
    chown(path, Some(runner.root), Some(runner.root)).map_err(io_failed("giving a directory away"))?;
    fs::set_permissions(path, Permissions::from_mode(MODE_OF_DIRECTORIES)).map_err(io_failed("setting a mode"))
}

fn write(path: &Path, file: &VolumeFile, runner: Runner) -> Result<(), VolumeError> {
    let mut options = File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let mut written = opened.map_err(io_failed("making a file in it"))?;
    written.write_all(file.contents.bytes()).map_err(io_failed("writing a file in it"))?;
    fchown(&written, Some(runner.uid), Some(runner.gid)).map_err(io_failed("giving a file away"))?;
    written.set_permissions(Permissions::from_mode(file.mode & PERMISSIONS)).map_err(io_failed("setting a mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_every_file_whatever_a_page_is() {
        for page in [4 << 10, 16 << 10, 64 << 10] {
            let files = [1, 1, page, page + 1];
            let pages: usize = files.iter().map(|length: &usize| length.div_ceil(page)).sum();
            assert!(room_for(files.into_iter(), page) >= pages * page, "{page}");
        }
    }

    #[test]
    fn the_directories_of_a_file_come_outermost_first() {
        assert_eq!(directories_of("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(directories_of("a").count(), 0);
    }
}
