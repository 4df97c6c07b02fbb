//! A network namespace with nothing but a loopback, or a way out besides, which nobody in the container can change.
//!
//! It belongs to the host's user namespace, since who makes it is the host's root, or to that of the helper outside:
//! whatever a process of the container becomes, the kernel's parameters of this network are not its own.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    libc,
    sched::{CloneFlags, setns, unshare},
};
use rustix::{
    fs::PROC_SUPER_MAGIC,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

use super::super::{CreationError, failed};
use crate::{defence::Defence, egress};

const OWN: &str = "/proc/self/ns/net";
/// Of this parameter, each namespace has its own.
const PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
const LOOPBACK: &[u8] = b"lo";

/// Leaves the host's network. What is told is the new namespace's number.
pub(super) fn isolate(outside: Option<&egress::Network>) -> Result<u64, CreationError> {
    let before = number()?;
    if !Defence::OwnNetwork.stands() {
        return Ok(before);
    }
    match outside {
        Some(network) => setns(network.namespace.as_fd(), CloneFlags::CLONE_NEWNET),
        None => unshare(CloneFlags::CLONE_NEWNET),
    }
    .map_err(failed("leaving", Path::new(OWN)))?;
    let own = number()?;
    if own == before {
        return Err(CreationError::HostNetwork);
    }
    raise_loopback().map_err(failed("raising the loopback of", Path::new(OWN)))?;
    open_ports()?;
    Ok(own)
}

fn number() -> Result<u64, CreationError> {
    Ok(fs::metadata(OWN).map_err(failed("looking at", Path::new(OWN)))?.ino())
}

fn raise_loopback() -> std::io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all bytes of it are numbers and a name, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(LOOPBACK) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    // SAFETY: the request is of the type that this call reads, and lives until it returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Any user of the container may listen on any port of it, as with Docker.
fn open_ports() -> Result<(), CreationError> {
    let path = Path::new(PORTS);
    let mut file = OpenOptions::new().write(true).open(path).map_err(failed("opening", path))?;
    let kind = rustix::fs::fstatfs(&file).map_err(failed("looking at", path))?.f_type;
    if kind != PROC_SUPER_MAGIC {
        return Err(CreationError::NotProc(PORTS));
    }
    file.write_all(b"0").map_err(failed("writing to", path))
}
