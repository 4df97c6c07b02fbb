//! A file system that is soon full, or cannot be written.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

/// A tmpfs of this test, gone with this value. Make it before the daemon, which has to end first.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
    options: CString,
}

impl SmallDisk {
    /// Mounts one and makes `place` lead to it. `options` are those of tmpfs, such as `size=1m`.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn at(place: &Path, options: &str) -> Self {
        // Short: a run directory's path is.
        let directory = tempfile::Builder::new().prefix("dmd").tempdir_in("/tmp").unwrap();
        let options = CString::new(format!("mode=0755,{options}")).unwrap();
        mount("tmpfs", directory.path(), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str()).unwrap();
        symlink(directory.path(), place).unwrap();
        Self { directory, options }
    }

    /// Until not a byte fits any more.
    ///
    /// # Panics
    /// Where something else goes wrong.
    pub fn fill(&self) {
        let mut file = File::create(self.filler(0)).unwrap();
        let mut bytes = vec![0; 1 << 20];
        while !bytes.is_empty() {
            match file.write_all(&bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => bytes.truncate(bytes.len() / 2),
                Err(error) => panic!("filling a disk: {error}"),
            }
        }
    }

    /// Until no further name fits. Give it few, with the option `nr_inodes`.
    ///
    /// # Panics
    /// Where something else goes wrong.
    pub fn fill_names(&self) {
        for number in 0.. {
            match File::create_new(self.filler(number)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
                Err(error) => panic!("filling a disk: {error}"),
            }
        }
    }

    /// Takes back what it was filled with.
    ///
    /// # Panics
    /// Where that fails.
    pub fn free(&self) {
        (0..).map(|number| self.filler(number)).take_while(|path| path.exists()).for_each(|path| {
            fs::remove_file(path).unwrap();
        });
    }

    /// # Panics
    /// Where something of it is open for writing.
    pub fn set_read_only(&self, is_read_only: bool) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let flags = if is_read_only { flags | MountFlags::RDONLY } else { flags };
        mount_remount(self.directory.path(), flags, self.options.as_c_str()).unwrap();
    }

    fn filler(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("filler{number}"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.directory.path(), UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.directory.path().display());
        }
    }
}
