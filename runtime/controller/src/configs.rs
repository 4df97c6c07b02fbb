//! Contents of volumes where the spawner finds them: files of config maps and secrets, each set under its digest.
//!
//! Desired state is where they are written down; what lies here is derived from it, and only for as long as replicas may
//! be made of it. So nothing is synced, and a secret of an endpoint that is deleted is gone with it. What an earlier node left
//! is taken as it is where it is whole, so that what is deployed serves from a disk that takes nothing more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dormouse_spec::Digest;

use crate::{error_chain::one_line, revision::Contents};

#[derive(Debug, thiserror::Error)]
#[error("{operation} `{}` failed", path.display())]
pub(crate) struct ConfigError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConfigError {
    move |source| ConfigError { operation, path: path.to_owned(), source }
}

#[derive(Debug, Clone)]
pub(crate) struct ConfigStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// By how many each is held.
    held: Mutex<BTreeMap<Digest, usize>>,
}

impl Inner {
    /// Nothing panics while it is held.
    fn held(&self) -> MutexGuard<'_, BTreeMap<Digest, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &Digest) -> PathBuf {
        self.directory.join(name.directory_name())
    }
}

/// Contents that lie in the store until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldContents {
    store: ConfigStore,
    names: Vec<Digest>,
}

impl PartialEq for HeldContents {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl ConfigStore {
    pub(crate) fn open(data: &Path) -> Result<Self, ConfigError> {
        let directory = data.join("configs");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(failed("making", &directory))?;
        Ok(Self(Arc::new(Inner { directory, held: Mutex::default() })))
    }

    /// Removes what nobody holds. What cannot be removed stays until the next start.
    pub(crate) fn sweep(&self) {
        if let Err(error) = self.try_sweep() {
            tracing::warn!("contents of volumes that nobody needs stay: {}", one_line(&error));
        }
    }

    fn try_sweep(&self) -> Result<(), ConfigError> {
        let held = self.0.held();
        let names: BTreeSet<String> = held.keys().map(Digest::directory_name).collect();
        let directory = &self.0.directory;
        for entry in fs::read_dir(directory).map_err(failed("reading", directory))? {
            let entry = entry.map_err(failed("reading", directory))?;
            if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
                fs::remove_file(entry.path()).map_err(failed("removing", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Small files, which stay in the page cache: not worth a thread.
    pub(crate) fn hold(&self, contents: &[Contents]) -> Result<HeldContents, ConfigError> {
        let mut taken = HeldContents { store: self.clone(), names: Vec::with_capacity(contents.len()) };
        for Contents { name, bytes } in contents {
            let mut held = self.0.held();
            if !held.contains_key(name) {
                let path = self.0.path(name);
                if !fs::read(&path).is_ok_and(|there| there == *bytes) {
                    write(&path, bytes).map_err(failed("writing", &path))?;
                }
            }
            *held.entry(*name).or_default() += 1;
            taken.names.push(*name);
        }
        Ok(taken)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A replica is never given half of it.
    let unfinished = path.with_extension("unfinished");
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        // Part of a secret may be in it. Where it stays nevertheless, the next start removes it.
        let _ = fs::remove_file(&unfinished);
    })
}

impl Drop for HeldContents {
    fn drop(&mut self) {
        let mut held = self.store.0.held();
        for name in &self.names {
            let Some(count) = held.get_mut(name) else { continue };
            *count -= 1;
            if *count == 0 {
                held.remove(name);
                let path = self.store.0.path(name);
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), "contents of a volume that nobody needs stay: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn contents(byte: u8) -> Contents {
        Contents { name: Digest::from_sha256([byte; 32]), bytes: vec![byte] }
    }

    fn names(data: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(data.join("configs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn contents_lie_there_while_somebody_holds_them() {
        let data = tempfile::tempdir().unwrap();
        let store = ConfigStore::open(data.path()).unwrap();
        let one = store.hold(&[contents(1), contents(2)]).unwrap();
        let other = store.hold(&[contents(2), contents(2)]).unwrap();
        let name = |byte| contents(byte).name.directory_name();
        assert_eq!(names(data.path()), [name(1), name(2)]);
        let path = data.path().join("configs").join(name(2));
        assert_eq!(fs::read(&path).unwrap(), [2]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(one);
        assert_eq!(names(data.path()), [name(2)]);
        drop(other);
        assert!(names(data.path()).is_empty());
    }

    #[test]
    fn a_start_takes_what_is_there_and_removes_the_rest() {
        let data = tempfile::tempdir().unwrap();
        let left = ConfigStore::open(data.path()).unwrap().hold(&[contents(1), contents(3), contents(4)]).unwrap();
        std::mem::forget(left);
        let path = |byte| data.path().join("configs").join(contents(byte).name.directory_name());
        // Of one only a part was written; the other is as it was, and is not written again.
        fs::write(path(3), "").unwrap();
        let before = fs::metadata(path(4)).unwrap();
        let store = ConfigStore::open(data.path()).unwrap();
        let _held = store.hold(&[contents(3), contents(4)]).unwrap();
        store.sweep();
        assert_eq!(names(data.path()), [3, 4].map(|byte| contents(byte).name.directory_name()));
        assert_eq!(fs::read(path(3)).unwrap(), [3]);
        assert_eq!(fs::metadata(path(4)).unwrap().ino(), before.ino());
        // And what cannot be written is told, and half of it is not held.
        fs::create_dir(data.path().join("configs").join(contents(2).name.directory_name())).unwrap();
        assert!(store.hold(&[contents(1), contents(2)]).is_err());
        assert!(!fs::exists(path(1)).unwrap());
        assert!(!names(data.path()).iter().any(|name| name.ends_with("unfinished")));
    }
}
