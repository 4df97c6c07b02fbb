//! The directory of layers, as an earlier daemon left it.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use dormouse_spec::Digest;
use nix::libc::O_NOFOLLOW;
use rustix::fs::CWD;

use crate::{
    error_chain, removal,
    unpack::{Layer, RECORD},
};

/// A record is read no further, in bytes.
const RECORD_BYTES_MAX: u64 = 16 << 10;
const UNFINISHED: &str = ".incoming-";
const REMOVED: &str = ".removing-";

/// Why a layer is still there, or not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{operation} `{}` failed", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is of another layer", .0.display())]
    Other(PathBuf),
}

impl StoreError {
    /// Whether there is no layer, rather than one that cannot be read now.
    fn is_no_layer(&self) -> bool {
        match self {
            Self::Other(_) => true,
            Self::Io { source, .. } => matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof),
        }
    }
}

/// What is in the directory.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) store: LayerStore,
    pub(crate) present: BTreeMap<Digest, Layer>,
    /// Names of what is no layer, to be removed.
    pub(crate) leftovers: VecDeque<String>,
}

/// Where layers are.
#[derive(Debug)]
pub(crate) struct LayerStore {
    pub(crate) path: PathBuf,
    /// Of the last name that was given to something unfinished.
    serial: u64,
}

impl LayerStore {
    /// Tells which layers there are, and what is unfinished. A damaged layer loses its name; one that cannot be
    /// read now stays. Both are told, and neither stops a daemon.
    pub(crate) fn open(path: &Path) -> Found {
        let mut store = Self { path: path.to_owned(), serial: 0 };
        let (mut present, mut leftovers) = (BTreeMap::new(), VecDeque::new());
        for name in store.names() {
            match layer_of(&name) {
                None if is_unfinished(&name) => leftovers.push_back(name),
                None => {}
                Some(diff_id) => match store.read(diff_id) {
                    Ok(layer) => drop(present.insert(diff_id, layer)),
                    Err(error) if error.is_no_layer() => {
                        tracing::warn!("a layer cannot be used and is removed: {}", error_chain::one_line(&error));
                        let removed = store.removed_name();
                        match store.take_name(&diff_id, &removed) {
                            Ok(()) => leftovers.push_back(removed),
                            Err(error) => store.warn(Err(error)),
                        }
                    }
                    Err(error) => {
                        tracing::warn!("a layer cannot be read and is left alone: {}", error_chain::one_line(&error));
                    }
                },
            }
        }
        Found { store, present, leftovers }
    }

    /// A name for something unfinished, which nothing has.
    pub(crate) fn unfinished_name(&mut self) -> String {
        self.fresh(UNFINISHED)
    }

    /// The same for something that is being removed.
    pub(crate) fn removed_name(&mut self) -> String {
        self.fresh(REMOVED)
    }

    fn fresh(&mut self, prefix: &str) -> String {
        loop {
            self.serial += 1;
            let name = format!("{prefix}{}", self.serial);
            // What an earlier daemon left, and could not be removed.
            if fs::symlink_metadata(self.path.join(&name)).is_err() {
                return name;
            }
        }
    }

    /// Whether a layer has its name.
    pub(crate) fn has(&self, diff_id: &Digest) -> bool {
        fs::symlink_metadata(self.path.join(diff_id.directory_name())).is_ok()
    }

    /// Removes what has this name, whole. Takes long.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        removal::whole(CWD.as_fd(), &path).map_err(|error| failed("removing", &path)(error.into()))
    }

    /// Takes its name from a layer, so that it is none any more, and then removes it.
    pub(crate) fn remove_layer(&self, diff_id: &Digest, as_removed: &str) -> Result<(), StoreError> {
        self.take_name(diff_id, as_removed)?;
        self.remove(as_removed)
    }

    /// Removes what an unpacking left under either name. Takes long.
    pub(crate) fn clear(&self, unfinished: &str, diff_id: &Digest) -> Result<(), StoreError> {
        self.remove(unfinished)?;
        if self.has(diff_id) { self.remove_layer(diff_id, unfinished) } else { Ok(()) }
    }

    fn take_name(&self, diff_id: &Digest, as_removed: &str) -> Result<(), StoreError> {
        let path = self.path.join(diff_id.directory_name());
        fs::rename(&path, self.path.join(as_removed)).map_err(failed("taking its name from", &path))?;
        File::open(&self.path).and_then(|layers| layers.sync_all()).map_err(failed("syncing", &self.path))
    }

    fn names(&self) -> Vec<String> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) => {
                self.warn(Err(failed("listing", &self.path)(error)));
                return Vec::new();
            }
        };
        // A name that is no text is none of ours.
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    /// What the record of a layer says.
    pub(crate) fn read(&self, diff_id: Digest) -> Result<Layer, StoreError> {
        let path = self.path.join(diff_id.directory_name()).join(RECORD);
        let mut options = File::options();
        let file = options.read(true).custom_flags(O_NOFOLLOW).open(&path).map_err(failed("opening", &path))?;
        let mut json = Vec::new();
        file.take(RECORD_BYTES_MAX).read_to_end(&mut json).map_err(failed("reading", &path))?;
        let layer: Layer = serde_json::from_slice(&json).map_err(|error| failed("reading", &path)(error.into()))?;
        if layer.diff_id == diff_id { Ok(layer) } else { Err(StoreError::Other(path)) }
    }

    fn warn(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!("something is left in the directory of layers: {}", error_chain::one_line(&error));
        }
    }
}

/// `sha256-<hex>` alone.
fn layer_of(name: &str) -> Option<Digest> {
    let diff_id: Digest = format!("sha256:{}", name.strip_prefix("sha256-")?).parse().ok()?;
    (OsStr::new(name) == diff_id.directory_name().as_str()).then_some(diff_id)
}

fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED) || name.starts_with(REMOVED)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { operation, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::messages::LeftOut;

    #[test]
    fn what_is_unfinished_or_damaged_goes_and_layers_stay() {
        let place = tempfile::tempdir().unwrap();
        let (layers, beside) = (place.path().join("layers"), place.path().join("beside"));
        fs::create_dir(&beside).unwrap();
        let digest = |byte| Digest::from_sha256([byte; 32]);
        let make = |byte: u8, json: &str| {
            let directory = layers.join(digest(byte).directory_name());
            fs::create_dir_all(directory.join("sealed/tree")).unwrap();
            fs::write(directory.join(RECORD), json).unwrap();
        };
        let layer = Layer { diff_id: digest(1), bytes: 2, entries: 3, left_out: LeftOut::default() };
        let json = serde_json::to_string(&layer).unwrap();
        make(1, &json);
        make(2, &json);
        make(3, &json[..10]);
        fs::create_dir_all(layers.join(".incoming-1/sealed/tree/a")).unwrap();
        fs::create_dir_all(layers.join(".removing-7/sealed")).unwrap();
        symlink(&beside, layers.join(".incoming-9")).unwrap();
        fs::write(layers.join("note"), "an operator's").unwrap();

        make(4, "{}");
        let Found { mut store, present, leftovers } = LayerStore::open(&layers);
        assert!(!store.has(&digest(2)) && !store.has(&digest(3)), "what has no whole record has lost its name");
        leftovers.iter().for_each(|name| store.remove(name).unwrap());
        assert_eq!(present.into_values().collect::<Vec<_>>(), [layer]);
        let mut left: Vec<String> = store.names();
        left.sort();
        assert_eq!(left, ["note".to_owned(), digest(1).directory_name(), digest(4).directory_name()]);
        assert!(beside.exists() && store.has(&digest(1)) && !store.has(&digest(2)));

        fs::create_dir(layers.join(".incoming-1")).unwrap();
        store.serial = 0;
        assert_eq!(store.unfinished_name(), ".incoming-2", "the first is taken");
        let name = store.removed_name();
        store.remove_layer(&digest(1), &name).unwrap();
        assert!(!store.has(&digest(1)) && !layers.join(name).exists());
        assert!(store.remove_layer(&digest(1), ".removing-9").is_err());

        // Killed after it had given the layer its name, and before it could say so.
        store.clear(".incoming-2", &digest(4)).unwrap();
        assert!(!store.has(&digest(4)) && !layers.join(".incoming-2").exists());
    }
}
