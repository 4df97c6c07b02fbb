//! The root directory all workers share: read-only, made once, seen only by this daemon.
//!
//! It lives on a tmpfs in a mount namespace of the spawner's own, so it is gone with the last
//! process that uses it, whatever kills the spawner. The program in it is a copy: a payload that
//! found a way to write it would not reach the installed one. Libraries are the host's own files,
//! bound read-only, so that their pages are shared.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::{
    defence::Defence,
    instance::{InstanceError, make_directory},
    libraries::{Libraries, LibraryError},
};

/// Where the worker's program is in a container.
pub(crate) const PROGRAM: &str = "/usr/bin/dormouse";
/// Where its libraries are.
pub(crate) const LIBRARY_DIRECTORY: &str = "/usr/lib/dormouse";
/// ONNX Runtime in a container.
pub(crate) const ONNXRUNTIME: &str = "/usr/lib/dormouse/libonnxruntime.so";
/// Where KServe's containers find their model, and ours.
pub(crate) const MODEL_DIRECTORY: &str = "/mnt/models";

/// Why the root directory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("{operation} `{path}` failed")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Directory(#[from] InstanceError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("no ONNX Runtime library at `{0}`: set `onnxruntime` in [sandbox] to a libonnxruntime.so, 1.23 or newer")]
    NoOnnxRuntime(PathBuf),
}

/// The prepared directories, all on the private tmpfs.
#[derive(Debug)]
pub(crate) struct Rootfs {
    private: PathBuf,
    root: PathBuf,
    scratch: PathBuf,
}

impl Rootfs {
    /// Moves this process into a mount namespace of its own and makes the root directory under
    /// `private`. Mounts that the host makes later still arrive; none of ours leaves.
    ///
    /// # Errors
    /// Where a file of the program, its libraries or ONNX Runtime is missing, or a mount fails.
    pub(crate) fn prepare(private: &Path, program: &Path, onnxruntime: &Path) -> Result<Self, RootfsError> {
        if !onnxruntime.is_file() {
            return Err(RootfsError::NoOnnxRuntime(onnxruntime.to_owned()));
        }
        let mut libraries = Libraries::default();
        libraries.add(program)?;
        libraries.add(onnxruntime)?;

        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("leaving the mount namespace for", private))?;
        let everything = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, everything, None::<&str>)
            .map_err(failed("making mounts private under", Path::new("/")))?;
        make_directory(private, 0o700, None)?;
        let options = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("dormouse"), private, Some("tmpfs"), options, Some("mode=0755"))
            .map_err(failed("mounting a tmpfs on", private))?;

        let rootfs = Self { private: private.to_owned(), root: private.join("root"), scratch: private.join("scratch") };
        rootfs.fill(program, onnxruntime, &libraries)?;
        if Defence::PrivateProgram.stands() {
            let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | options;
            mount(None::<&str>, private, None::<&str>, read_only, None::<&str>)
                .map_err(failed("making read-only", private))?;
        }
        Ok(rootfs)
    }

    /// What becomes `/` of every worker.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// An empty directory over which each creation child mounts what is its replica's alone.
    #[must_use]
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    fn fill(&self, program: &Path, onnxruntime: &Path, libraries: &Libraries) -> Result<(), RootfsError> {
        fs::create_dir_all(&self.scratch).map_err(failed("making", &self.scratch))?;
        for mount_point in ["/proc", "/dev", "/tmp", "/sys", MODEL_DIRECTORY] {
            let path = self.inside(Path::new(mount_point));
            fs::create_dir_all(&path).map_err(failed("making", &path))?;
        }
        let copy = self.place(Path::new(PROGRAM))?;
        fs::copy(program, &copy).map_err(failed("copying the program to", &copy))?;
        let mode = if Defence::PrivateProgram.stands() { 0o555 } else { 0o777 };
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).map_err(failed("setting the mode of", &copy))?;
        self.bind(onnxruntime, Path::new(ONNXRUNTIME))?;
        for (name, file) in &libraries.by_name {
            self.bind(file, &Path::new(LIBRARY_DIRECTORY).join(name))?;
        }
        if let Some((expected, file)) = &libraries.linker {
            self.bind(file, expected)?;
        }
        Ok(())
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// An empty file at `path` of the new root.
    fn place(&self, path: &Path) -> Result<PathBuf, RootfsError> {
        let path = self.inside(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed("making", parent))?;
        }
        fs::write(&path, b"").map_err(failed("making", &path))?;
        Ok(path)
    }

    /// A file of the host, read-only at `path` of the new root.
    fn bind(&self, file: &Path, path: &Path) -> Result<(), RootfsError> {
        let place = self.place(path)?;
        mount(Some(file), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(failed("binding", file))?;
        let read_only =
            MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(None::<&str>, &place, None::<&str>, read_only, None::<&str>).map_err(failed("making read-only", &place))
    }
}

/// Gives the run directory back, so that it can be removed while this process lives.
impl Drop for Rootfs {
    fn drop(&mut self) {
        // What cannot be unmounted goes with this process's mount namespace.
        let _ = umount2(&self.private, MntFlags::MNT_DETACH);
    }
}

fn failed<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError::Io { operation, path, source: source.into() }
}
