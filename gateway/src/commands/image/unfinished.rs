use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
};

/// A file that gets its name when it is whole, in place of what has it. Dropped before, nothing is left of it.
pub(super) struct Unfinished {
    file: File,
    path: PathBuf,
    /// What it is called until then, where the file system wants every file to have a name.
    partial: Option<PathBuf>,
}

impl Unfinished {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Without a name, so that nothing is left of one that is interrupted.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Self { file: file.into(), path: path.to_owned(), partial: None }),
            // What FAT, NFS, 9p and FUSE answer, and kernels that do not know the flag.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => Self::create_with_a_name(path),
            Err(error) => Err(error.into()),
        }
    }

    fn create_with_a_name(path: &Path) -> io::Result<Self> {
        let (file, partial) = under_a_free_name(path, |partial| File::create_new(partial))?;
        Ok(Self { file, path: path.to_owned(), partial: Some(partial) })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name, once all of it has reached the disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // A link cannot replace what has the name, and a rename can.
        if self.partial.is_none() {
            let itself = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let link = |partial: &Path| rustix::fs::linkat(CWD, &itself, CWD, partial, AtFlags::SYMLINK_FOLLOW);
            let ((), partial) = under_a_free_name(&self.path, |partial| Ok(link(partial)?))?;
            self.partial = Some(partial);
        }
        if let Some(partial) = &self.partial {
            std::fs::rename(partial, &self.path)?;
        }
        self.partial = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // The error that led here is the caller's.
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Of names that those left which were interrupted.
const ATTEMPTS: u32 = 100;

fn under_a_free_name<T>(path: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(T, PathBuf)> {
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        let partial = partial(path, attempt);
        match make(&partial) {
            Ok(made) => return Ok((made, partial)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

fn partial(path: &Path, attempt: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{attempt}.partial", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_nothing_is_left_of_one_that_is_not() {
        for create in [Unfinished::create, Unfinished::create_with_a_name] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("archive.tar");
            std::fs::write(&path, "before").unwrap();
            let unfinished = create(&path).unwrap();
            unfinished.file().write_all(b"half").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"before");
            drop(unfinished);
            assert_eq!(names(directory.path()), ["archive.tar"]);

            let unfinished = create(&path).unwrap();
            unfinished.file().write_all(b"whole").unwrap();
            unfinished.finish().unwrap();
            assert_eq!((std::fs::read(&path).unwrap(), names(directory.path()).len()), (b"whole".to_vec(), 1));
        }
    }

    #[test]
    fn a_name_that_cannot_be_given_leaves_nothing() {
        for create in [Unfinished::create, Unfinished::create_with_a_name] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("taken");
            let unfinished = create(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
            assert!(unfinished.finish().is_err());
            assert_eq!(names(directory.path()), ["taken"]);
        }
    }

    #[test]
    fn where_a_file_has_to_have_a_name_it_is_made_by_one() {
        // As FAT does, /proc refuses files without a name; by name it makes none either, but says so otherwise.
        let path = Path::new("/proc/archive.tar");
        let (error, by_name) = (Unfinished::create(path).err(), Unfinished::create_with_a_name(path).err());
        assert!(by_name.is_some());
        assert_eq!(error.map(|error| error.raw_os_error()), by_name.map(|error| error.raw_os_error()));
    }
}
