//! The sockets clients connect to, and the ones replicas serve on.
//!
//! They are bound here, by the process that outlives the node: while a node restarts, the kernel
//! keeps new connections for it.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use crate::messages::Listener;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is taken by another program: stop it, or choose another address with --listen")]
    Taken(SocketAddr),
    #[error("listening on {address} failed")]
    Tcp {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{operation} the socket `{path}` failed")]
    Unix {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The sockets that are handed to every node process.
#[derive(Debug)]
pub(crate) struct Listeners {
    gateway: TcpListener,
    admin: UnixListener,
    admin_path: PathBuf,
}

impl Listeners {
    /// The admin socket is for uid 0 and the group `admin_gid`.
    pub(crate) fn bind(address: SocketAddr, admin: &Path, admin_gid: Option<u32>) -> Result<Self, ListenError> {
        let gateway = TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken(address),
            _ => ListenError::Tcp { address, source },
        })?;
        gateway.set_nonblocking(true).map_err(|source| ListenError::Tcp { address, source })?;
        let listener = listen_unix(admin, admin_gid.unwrap_or(0))?;
        Ok(Self { gateway, admin: listener, admin_path: admin.to_owned() })
    }

    /// What each is for, and its descriptor, in the order a welcome carries them.
    pub(crate) fn all(&self) -> [(Listener, BorrowedFd<'_>); 2] {
        [(Listener::Gateway, self.gateway.as_fd()), (Listener::Admin, self.admin.as_fd())]
    }

    /// The address in force: the one asked for, with the port the kernel chose for port 0.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.gateway.local_addr()
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        // A socket's name that is left behind is removed by the next start.
        let _ = fs::remove_file(&self.admin_path);
    }
}

/// A listening Unix socket of mode 0660 for root and `gid`, non-blocking.
pub(crate) fn listen_unix(path: &Path, gid: u32) -> Result<UnixListener, ListenError> {
    let failed = |operation| move |source: io::Error| ListenError::Unix { operation, path: path.to_owned(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing the old")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("binding"))?;
    chown(path, Some(0), Some(gid)).map_err(failed("giving away"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed("setting the mode of"))?;
    listener.set_nonblocking(true).map_err(failed("making non-blocking"))?;
    Ok(listener)
}
