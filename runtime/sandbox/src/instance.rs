//! One daemon on this machine: its directories, its lock, and the id that marks all it creates.
//!
//! Two daemons may run side by side. Each sweeps what an earlier life of itself left behind and
//! never what carries another id.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    libc,
};
use sha2::{Digest as _, Sha256};

/// Why the directories of a daemon cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("{operation} `{path}` failed")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another daemon runs in `{0}`: stop it, or give this one its own --run directory")]
    Running(PathBuf),
    #[error("another daemon keeps its layers in `{0}`: stop it, or give this one its own --data directory")]
    DataInUse(PathBuf),
    #[error(
        "`{path}` belongs to user {owner}, who could exchange what is in it: `chown root: {path}`, or name another directory", path = path.display()
    )]
    Others { path: PathBuf, owner: u32 },
    #[error("the run directory `{0}` is too long for socket names: use one of at most {RUN_PATH_BYTES_MAX} bytes")]
    RunPathTooLong(PathBuf),
}

/// A Unix socket's path has at most 107 bytes; `/sockets/<replica>.sock` must fit behind this.
const RUN_PATH_BYTES_MAX: usize = 64;
/// Hex digits of the run directory's hash that name the instance: 48 bits.
const ID_DIGITS: usize = 12;

/// The run directory of one daemon, locked by this process until the value is dropped.
#[derive(Debug)]
pub struct Instance {
    id: String,
    run: PathBuf,
    /// The lock lives as long as the process: the kernel gives it back whatever kills us.
    _lock: Flock<File>,
}

impl Instance {
    /// Makes `run` where it is missing and takes its lock.
    ///
    /// # Errors
    /// [`InstanceError::Running`] where another daemon holds the lock.
    pub fn lock(run: &Path) -> Result<Self, InstanceError> {
        make_directory(run, 0o755, None)?;
        let run = fs::canonicalize(run).map_err(in_path("resolving", run))?;
        if run.as_os_str().len() > RUN_PATH_BYTES_MAX {
            return Err(InstanceError::RunPathTooLong(run));
        }
        let path = run.join("daemon.lock");
        let mut options = File::options();
        // Whoever may open it can hold it.
        let options = options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(in_path("opening", &path))?;
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(in_path("setting the mode of", &path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            Errno::EWOULDBLOCK => InstanceError::Running(run.clone()),
            _ => in_path("locking", &path)(error.into()),
        })?;
        Ok(Self { id: id_of(&run), run, _lock: lock })
    }

    /// Twelve hex digits, the same for every life of a daemon with this run directory.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of this daemon's control groups: `dormouse-<id>`.
    #[must_use]
    pub fn cgroup_name(&self) -> String {
        format!("dormouse-{}", self.id)
    }

    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Where a tmpfs of this daemon's mount namespace is mounted; nobody outside sees it.
    #[must_use]
    pub fn private(&self) -> PathBuf {
        self.run.join("private")
    }

    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.run.join("sockets")
    }

    #[must_use]
    pub fn socket_of(&self, replica: &str) -> PathBuf {
        self.sockets().join(format!("{replica}.sock"))
    }

    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }
}

/// Takes what must not be two daemons' for as long as the value lives: its directories are swept at a start.
pub(crate) fn lock_directory(path: &Path) -> Result<Flock<File>, InstanceError> {
    let directory = File::open(path).map_err(in_path("opening", path))?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => InstanceError::DataInUse(path.to_owned()),
        _ => in_path("locking", path)(error.into()),
    })
}

fn id_of(run: &Path) -> String {
    let hash = Sha256::digest(AsRef::<OsStr>::as_ref(run).as_encoded_bytes());
    let mut digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(ID_DIGITS);
    digits
}

/// Makes a directory with exactly this mode and owner, whether it was there or not. One that is as it
/// should be is not touched: its disk may be one that cannot be written.
///
/// Links are followed: whoever may change the directory that it is in has to be root, and so one that is to be nobody's
/// in particular has to be ours.
pub(crate) fn make_directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<(), InstanceError> {
    if !path.is_dir() {
        fs::create_dir_all(path).map_err(in_path("making directory", path))?;
        // What is written into it would be lost with its name.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(in_path("syncing", parent))?;
    }
    let found = fs::metadata(path).map_err(in_path("looking at", path))?;
    if owner.is_none() && found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(InstanceError::Others { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(in_path("setting the mode of", path))?;
    }
    if let Some((uid, gid)) = owner.filter(|owner| *owner != (found.uid(), found.gid())) {
        chown(path, Some(uid), Some(gid)).map_err(in_path("giving away", path))?;
    }
    Ok(())
}

pub(crate) fn in_path<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> InstanceError + 'a {
    move |source| InstanceError::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_daemon_a_directory() {
        let _lock_ends_when_dropped = dormouse_faults::no_child_starts();
        let directory = tempfile::tempdir().unwrap();
        let first = Instance::lock(directory.path()).unwrap();
        assert!(matches!(Instance::lock(directory.path()), Err(InstanceError::Running(_))));
        let id = first.id().to_owned();
        drop(first);
        assert_eq!(Instance::lock(directory.path()).unwrap().id(), id);
    }

    #[test]
    fn a_directory_of_somebody_elses_is_refused_and_a_lock_is_nobodys_to_hold() {
        let directory = tempfile::tempdir().unwrap();
        let (run, lock) = (directory.path().join("run"), directory.path().join("run/daemon.lock"));
        let _lock_ends_when_dropped = dormouse_faults::no_child_starts();
        drop(Instance::lock(&run).unwrap());
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
        drop(Instance::lock(&run).unwrap());
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
        chown(&run, Some(12_345), None).unwrap();
        let refused = Instance::lock(&run).unwrap_err();
        assert!(refused.to_string().contains("belongs to user 12345"), "{refused}");
    }

    #[test]
    fn another_directory_is_another_instance() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(Instance::lock(one.path()).unwrap().id(), Instance::lock(other.path()).unwrap().id());
    }
}
