use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

use super::{ClientError, SOCKET_NAME};

/// Connects to the daemon of `run`; where there is none, to the one that `dormouse serve` runs in a
/// directory of its own beneath.
///
/// # Errors
/// [`ClientError::Several`] where more than one serves: which is meant cannot be guessed.
pub(super) async fn connect(run: &Path) -> Result<UnixStream, ClientError> {
    let socket = run.join(SOCKET_NAME);
    match UnixStream::connect(&socket).await {
        Err(error) if is_absent(&error) => connect_to_serve(run).await,
        connected => connected.map_err(|source| not_connected(socket, source)),
    }
}

async fn connect_to_serve(run: &Path) -> Result<UnixStream, ClientError> {
    let mut found: Vec<(PathBuf, UnixStream)> = Vec::new();
    for directory in serve_directories(run) {
        let socket = directory.join(SOCKET_NAME);
        match UnixStream::connect(&socket).await {
            Ok(stream) => found.push((directory, stream)),
            // A daemon that was killed leaves its directory for the next one to remove.
            Err(error) if is_absent(&error) => {}
            Err(source) => return Err(not_connected(socket, source)),
        }
    }
    if found.len() > 1 {
        return Err(ClientError::Several { runs: found.into_iter().map(|(directory, _)| directory).collect() });
    }
    found.pop().map(|(_, stream)| stream).ok_or_else(|| ClientError::NoDaemon { run: run.to_owned() })
}

fn serve_directories(run: &Path) -> Vec<PathBuf> {
    // Where the directory cannot be read there is no daemon that could be asked either.
    let Ok(entries) = fs::read_dir(run) else { return Vec::new() };
    let names_serve = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"serve-");
    let mut directories: Vec<_> =
        entries.filter_map(Result::ok).filter(names_serve).map(|entry| entry.path()).collect();
    directories.sort();
    directories
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory)
}

fn not_connected(socket: PathBuf, source: io::Error) -> ClientError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
        _ => ClientError::Connect { socket, source },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixListener;

    use super::*;

    fn daemon(run: &Path, directory: &str) -> UnixListener {
        let directory = run.join(directory);
        fs::create_dir_all(&directory).unwrap();
        UnixListener::bind(directory.join(SOCKET_NAME)).unwrap()
    }

    #[tokio::test]
    async fn the_daemon_comes_first_then_the_only_one_that_serves() {
        let run = tempfile::tempdir().unwrap();
        assert!(matches!(connect(run.path()).await, Err(ClientError::NoDaemon { .. })));
        drop(daemon(run.path(), "serve-1"));
        assert!(matches!(connect(run.path()).await, Err(ClientError::NoDaemon { .. })), "that one was killed");
        let _two = daemon(run.path(), "serve-2");
        connect(run.path()).await.unwrap();
        let _three = daemon(run.path(), "serve-3");
        let Err(ClientError::Several { runs }) = connect(run.path()).await else { panic!("it guessed") };
        assert_eq!(runs, [run.path().join("serve-2"), run.path().join("serve-3")]);
        let _daemon = daemon(run.path(), "");
        connect(run.path()).await.unwrap();
    }
}
