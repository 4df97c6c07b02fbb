//! User namespaces: of a container, with two ids in it, who sets it up and who runs in it; of images' files; and of a
//! helper outside, with one.
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

/// Where root is `uid` of the host, and there is nobody else; and a network namespace of its own.
pub(crate) fn with_network(uid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let maps = Maps::same(format!("0 {uid} 1\n"));
    let made = create_with(&maps, Some(uid), true)?;
    made.network.map(|network| (made.user, network)).ok_or_else(|| io::Error::other("no network namespace was made"))
}

/// What a mount is given to show files of one user of the host, and of one group, as those of others. Ids of the
/// files are on the left.
pub(crate) fn of_one_user((uid, gid): (u32, u32), (shown_uid, shown_gid): (u32, u32)) -> io::Result<OwnedFd> {
    let maps = Maps { users: format!("{uid} {shown_uid} 1\n"), groups: format!("{gid} {shown_gid} 1\n") };
    create_with(&maps, None, false).map(|made| made.user)
}

/// What a mount is given to show images' files as those of a replica: on the left are ids of the files.
pub(crate) fn of_shown_files(ids: ImageIds, range: &RangeLease) -> io::Result<OwnedFd> {
    create(&format!("{} {} {}\n", ids.base(), range.base(), ImageIds::COUNT), None)
}

/// Whose ids a namespace has.
struct Maps {
    users: String,
    groups: String,
}

impl Maps {
    fn same(map: String) -> Self {
        Self { users: map.clone(), groups: map }
    }
}

struct Namespaces {
    user: OwnedFd,
    network: Option<OwnedFd>,
}

fn create(map: &str, owner: Option<u32>) -> io::Result<OwnedFd> {
    create_with(&Maps::same(map.to_owned()), owner, false).map(|made| made.user)
}

/// Makes the namespace. The process that held it while its maps were written is gone again.
///
/// With an `owner` it is that uid's. What the kernel counts for each user (inotify instances, pending signals, message
/// queues) it counts for the owner too: were that root, a container could use up root's.
fn create_with(maps: &Maps, owner: Option<u32>, has_network: bool) -> io::Result<Namespaces> {
    let (mut told, mut told_writer) = io::pipe()?;
    let (mut release, mut release_writer) = io::pipe()?;
    // SAFETY: the creation child has one thread; the holder makes a namespace, waits for the end of
    // a pipe and leaves by `_exit`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(release_writer);
            let owned = owner.is_none_or(|owner| become_owner(owner).is_ok());
            let made = owned && unshare(CloneFlags::CLONE_NEWUSER).is_ok();
            let mut done = made && told_writer.write_all(b"u").is_ok();
            // Only who has a map has rights in its namespace.
            if has_network {
                let is_mapped = done && release.read_exact(&mut [0]).is_ok();
                done = is_mapped && unshare(CloneFlags::CLONE_NEWNET).is_ok() && told_writer.write_all(b"n").is_ok();
            }
            let waited = done && release.read(&mut [0]).is_ok();
            // SAFETY: `_exit` has no preconditions.
            unsafe { nix::libc::_exit(i32::from(!waited)) }
        }
        ForkResult::Parent { child: holder } => {
            drop(told_writer);
            let namespace = |kind: &str| fs::File::open(format!("/proc/{holder}/ns/{kind}")).map(OwnedFd::from);
            let mut make = || -> io::Result<Namespaces> {
                told.read_exact(&mut [0])?;
                write_maps(holder, maps)?;
                let mut network = None;
                if has_network {
                    release_writer.write_all(b"m")?;
                    told.read_exact(&mut [0])?;
                    network = Some(namespace("net")?);
                }
                Ok(Namespaces { user: namespace("user")?, network })
            };
            let made = make();
            drop(release_writer);
            waitpid(holder, None)?;
            made
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

fn write_maps(holder: Pid, maps: &Maps) -> io::Result<()> {
    fs::write(format!("/proc/{holder}/uid_map"), &maps.users)?;
    fs::write(format!("/proc/{holder}/gid_map"), &maps.groups)
}
