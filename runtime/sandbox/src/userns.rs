//! User namespaces: of a container, with two ids in it, who sets it up and who runs in it; and of images' files.
//!
//! libcontainer writes one line of a map by itself and calls `newuidmap` for more, which knows
//! nothing of our ranges. So the namespace is made here and handed to it as one to join.

use std::{
    fs, io,
    io::{Read, Write},
    os::fd::OwnedFd,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::wait::waitpid,
    unistd::{ForkResult, Pid, Uid, fork, setresuid},
};

use crate::{
    oci::worker::CONTAINER_UID,
    uids::{ImageIds, RangeLease},
};

/// Where uid and gid 0 are `setup_uid` of the host and those of every payload are `endpoint_uid`.
pub(crate) fn of_container(setup_uid: u32, endpoint_uid: u32) -> io::Result<OwnedFd> {
    create(&format!("0 {setup_uid} 1\n{CONTAINER_UID} {endpoint_uid} 1\n"), None)
}

/// Where every id that an image may use is that of its file on the host.
pub(crate) fn of_images(ids: ImageIds) -> io::Result<OwnedFd> {
    create(&format!("0 {} {}\n", ids.base(), ImageIds::COUNT), None)
}

/// Where every id of a process of an image is one of its replica's range.
pub(crate) fn of_processes(range: &RangeLease) -> io::Result<OwnedFd> {
    create(&format!("0 {} {}\n", range.base(), ImageIds::COUNT), Some(range.base()))
}

/// What a mount is given to show images' files as those of a replica: on the left are ids of the files.
pub(crate) fn of_shown_files(ids: ImageIds, range: &RangeLease) -> io::Result<OwnedFd> {
    create(&format!("{} {} {}\n", ids.base(), range.base(), ImageIds::COUNT), None)
}

/// Makes the namespace. The process that held it while its maps were written is gone again.
///
/// With an `owner` it is that uid's. What the kernel counts for each user (inotify instances, pending signals, message
/// queues) it counts for the owner too: were that root, a container could use up root's.
fn create(map: &str, owner: Option<u32>) -> io::Result<OwnedFd> {
    let (mut unshared, mut unshared_writer) = io::pipe()?;
    let (mut release, release_writer) = io::pipe()?;
    // SAFETY: the creation child has one thread; the holder makes a namespace, waits for the end of
    // a pipe and leaves by `_exit`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(release_writer);
            let owned = owner.is_none_or(|owner| become_owner(owner).is_ok());
            let made = owned && unshare(CloneFlags::CLONE_NEWUSER).is_ok();
            let done = made && unshared_writer.write_all(b"u").is_ok();
            let waited = done && release.read(&mut [0]).is_ok();
            // SAFETY: `_exit` has no preconditions.
            unsafe { nix::libc::_exit(i32::from(!waited)) }
        }
        ForkResult::Parent { child: holder } => {
            drop(unshared_writer);
            let namespace = unshared
                .read_exact(&mut [0])
                .and_then(|()| write_maps(holder, map))
                .and_then(|()| fs::File::open(format!("/proc/{holder}/ns/user")));
            drop(release_writer);
            waitpid(holder, None)?;
            namespace.map(OwnedFd::from)
        }
    }
}

/// Changes the user of this process, which keeps its capabilities.
fn become_owner(owner: u32) -> io::Result<()> {
    const NO_SETUID_FIXUP: nix::libc::c_ulong = 1 << 2;
    // SAFETY: it takes numbers alone, and changes this process, which has one thread.
    if unsafe { nix::libc::prctl(nix::libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let owner = Uid::from_raw(owner);
    Ok(setresuid(owner, owner, owner)?)
}

fn write_maps(holder: Pid, map: &str) -> io::Result<()> {
    fs::write(format!("/proc/{holder}/uid_map"), map)?;
    fs::write(format!("/proc/{holder}/gid_map"), map)
}
