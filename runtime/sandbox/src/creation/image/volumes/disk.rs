//! An empty directory on the daemon's disk that holds so much and no more.
//!
//! It is a file system of its own, in a file without a name. So its size is a limit on every disk, with quotas or
//! without; all of it is set aside before anything begins, so that no replica finds the disk full that others filled; and
//! the kernel gives it back with the last process that sees it, whoever was killed and when.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::libc;
use rustix::{
    fs::{AtFlags, FallocateFlags, FlockOperation},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags},
    process::{Signal, getpid, getppid, set_parent_process_death_signal},
};

use super::{VolumeError, io_failed, set_mode};

/// The smallest that a file system fits in, and what sizes are multiples of.
const BYTES_MIN: u64 = 4 << 20;
const BLOCK: u64 = 4 << 10;
/// What is left free of the disk: for the daemon's own state, and for whoever else uses it.
const SPARE: u64 = 256 << 20;
/// How often a free device is looked for, which others may take first.
const ATTEMPTS: u32 = 64;
const MKFS: [&str; 3] = ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4"];
/// What is kept of what mkfs says, in bytes.
const WORDS_MAX: usize = 512;
const EVERYBODY: u32 = 0o777;

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config`, with `struct loop_info64` in it.
#[repr(C)]
struct LoopConfiguration {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfiguration>() == 8 + 232 + 64);

/// A mount that is attached nowhere. `owner` is the container's root.
pub(super) fn make(place: &Path, bytes: u64, owner: u32) -> Result<OwnedFd, VolumeError> {
    let file = set_aside(place, bytes)?;
    format(&file, owner)?;
    let (device, path) = attach(&file)?;
    let mounted = mount(&path)?;
    // It lives on with the mount alone.
    drop(device);
    rustix::fs::unlinkat(&mounted, "lost+found", AtFlags::REMOVEDIR).map_err(io_failed("emptying it"))?;
    set_mode(&mounted, EVERYBODY)?;
    Ok(mounted)
}

fn set_aside(place: &Path, bytes: u64) -> Result<File, VolumeError> {
    let size = bytes.max(BYTES_MIN).div_ceil(BLOCK).saturating_mul(BLOCK);
    let mut options = File::options();
    let options = options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
    let file = options.open(place).map_err(io_failed("making a file without a name for it"))?;
    // One after the other: what is free now is so until it is taken below.
    let directory = File::open(place).map_err(io_failed("opening the directory of disks"))?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive).map_err(io_failed("waiting for room on the disk"))?;
    let disk = rustix::fs::fstatvfs(&file).map_err(io_failed("looking for room on the disk"))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = size.saturating_add(SPARE);
    if free < needed {
        return Err(VolumeError::DiskFull { free, needed, size, spare: SPARE });
    }
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size)
        .map_err(io_failed("setting aside its room on the disk"))?;
    Ok(file)
}

/// Without a journal, since nothing outlives a crash; and nothing is reserved for a root that is none.
fn format(file: &File, owner: u32) -> Result<(), VolumeError> {
    let program = MKFS.iter().find(|path| Path::new(path).is_file()).ok_or(VolumeError::NoMkfs)?;
    // By what is open, and not by the number of a process that may have ended and be another by then.
    let opened = file.try_clone().map_err(io_failed("duplicating its file"))?;
    let options = format!("nodiscard,lazy_itable_init=1,root_owner={owner}:{owner}");
    let mut command = Command::new(program);
    command
        .args([
            "-q",
            "-F",
            "-m",
            "0",
            "-O",
            "^has_journal",
            "-b",
            &BLOCK.to_string(),
            "-E",
            &options,
            "/proc/self/fd/0",
        ])
        .env_clear()
        .stdin(Stdio::from(opened));
    // It is in no group of the replica's yet, and nothing of a replica outlives what makes it.
    let us = getpid();
    let ends_with_us = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Whoever had ended before that would send none.
        if getppid() == Some(us) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: it is two system calls, and allocates nothing.
    unsafe { command.pre_exec(ends_with_us) };
    let output = command.output().map_err(io_failed("running mkfs.ext4"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(output.stderr.get(..WORDS_MAX).unwrap_or(&output.stderr)).into_owned();
    Err(VolumeError::Mkfs(dormouse_spec::printable(&format!("{}: {}", output.status, said.trim()))))
}

/// A device whose contents are the file's, for as long as somebody uses it.
fn attach(file: &File) -> Result<(File, PathBuf), VolumeError> {
    let control = File::options().read(true).write(true).open("/dev/loop-control");
    let control = control.map_err(io_failed("opening /dev/loop-control (is the module loop there?)"))?;
    let mut last = io::Error::other("there is no free loop device");
    for _ in 0..ATTEMPTS {
        // SAFETY: no memory is passed.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        if number < 0 {
            return Err(io_failed("looking for a free loop device")(io::Error::last_os_error()));
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(true).open(&path).map_err(io_failed("opening a loop device"))?;
        match configure(&device, file) {
            Ok(()) => return Ok((device, path)),
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
            Err(error) => return Err(io_failed("setting up a loop device")(error)),
        }
    }
    Err(io_failed("taking a loop device")(last))
}

fn configure(device: &File, file: &File) -> io::Result<()> {
    // SAFETY: all bytes of it are numbers, for which zeroes are valid.
    let mut configuration: LoopConfiguration = unsafe { std::mem::zeroed() };
    configuration.fd = file.as_raw_fd().cast_unsigned();
    // Past the page cache, which the file system on it has already.
    configuration.flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    // SAFETY: the configuration is of the type that this call reads, and lives until it returns.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const configuration) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mount(device: &Path) -> Result<OwnedFd, VolumeError> {
    let mount = || -> rustix::io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", device)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "errors", "remount-ro")?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    mount().map_err(io_failed("mounting its file system"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_told() {
        let place = tempfile::tempdir().unwrap();
        let error = set_aside(place.path(), u64::MAX / 2).unwrap_err();
        assert!(matches!(error, VolumeError::DiskFull { .. }), "{error}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
