//! Who is at the other end of a Unix stream, where the standard wrappers do not tell.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::libc;

/// Groups that a process can be in (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;
/// Groups that most processes are in at most.
const GROUPS_USUAL: usize = 64;

/// The supplementary groups that the peer had when it connected.
///
/// # Errors
/// As the kernel says.
pub fn groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    match read(&socket, GROUPS_USUAL) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => read(&socket, GROUPS_MAX),
        read => read,
    }
}

fn read(socket: &impl AsFd, most: usize) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; most];
    let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
    // SAFETY: the buffer and its length in bytes live for the whole call, the kernel writes no more
    // than that length, and every pattern of bits is a `gid_t`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(bytes as usize / size_of::<libc::gid_t>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn groups_are_those_of_whoever_connected() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut told = groups(&ours).unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
        told.sort_unstable();
        own.sort_unstable();
        assert_eq!(told, own);
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        assert_eq!(groups(std::fs::File::open("/dev/null").unwrap()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
