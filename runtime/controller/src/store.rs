//! Desired state: one file per endpoint, written so that a crash leaves the old or the new one.
//!
//! ```text
//! DATA/endpoints/NAME.json       what is deployed
//! DATA/endpoints/NAME.json.new   a write that is not finished
//! DATA/endpoints/NAME.json.old   a removal that is not finished
//! ```
//! Reading changes nothing: a file that cannot be read stays where it is, its endpoint is shown as
//! failed, and the models that it names are kept, until it is deployed anew or deleted.

mod desired;
mod files;

#[cfg(test)]
mod crash;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use dormouse_spec::{Digest, EndpointName};
use serde::Deserialize;

pub(crate) use desired::{Desired, DesiredContent, DesiredModel};
use files::retried;

/// The layout of a file. One of another number is not read.
const SCHEMA: u32 = 1;
/// The largest file that is read: a request, the metadata of a model, and a sample of
/// [`crate::SAMPLE_BYTES_MAX`] as a JSON string, where a character may take more than one.
const FILE_BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{operation} `{path}` failed")]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is no desired state of an endpoint")]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{path}` has schema {found}, this version reads {SCHEMA}")]
    Schema { path: PathBuf, found: u32 },
    #[error("`{path}` is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge { path: PathBuf },
    #[error("`{path}` is the desired state of `{found}`")]
    OtherName { path: PathBuf, found: EndpointName },
    /// After a failure that came too late: what is on the disk is not known.
    #[error("what was there before could not be put back ({put_back}): the next start finds the one or the other")]
    Unsettled {
        #[source]
        failure: Box<StoreError>,
        put_back: Box<StoreError>,
    },
    #[error("the thread that works on desired state ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// A file of the store: an endpoint, or why it cannot be one.
pub(crate) type Loaded = (EndpointName, Result<Desired, StoreError>);

/// The directory of desired state. Its methods do their work on a thread of their own.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the directory where it is missing, and removes what an interrupted write left.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub(crate) async fn open(data: &Path) -> Result<Self, StoreError> {
        let directory = data.join("endpoints");
        let store = Self { directory: directory.clone() };
        on_thread(move || {
            files::make_directory(&directory)?;
            // Leftovers harm nobody, and a disk that cannot be written must not keep a node from serving.
            if let Err(error) = files::sweep(&directory) {
                tracing::warn!(error = &error as &dyn std::error::Error, "an interrupted write was not cleaned up");
            }
            Ok(())
        })
        .await?;
        Ok(store)
    }

    /// All endpoints. A file that cannot be read costs only its own endpoint.
    pub(crate) async fn load(&self) -> Result<Vec<Loaded>, StoreError> {
        let directory = self.directory.clone();
        on_thread(move || load(&directory)).await
    }

    /// Every digest that a file names, of a model, of what was prepared of it, of an image and its layers, whether the
    /// file can be understood or not: what is written down may be more than what runs.
    ///
    /// # Errors
    /// Where a file cannot be read, and so nothing is known of what it names.
    pub(crate) async fn digests(&self) -> Result<HashSet<Digest>, StoreError> {
        let directory = self.directory.clone();
        on_thread(move || {
            let mut digests = HashSet::new();
            for (path, _) in states(&directory)? {
                digests.extend(digests_in(&read_bounded(&path)?));
            }
            Ok(digests)
        })
        .await
    }

    /// The commit point of a deploy: after it, a restart finds the new state, before it and where it
    /// fails the old.
    pub(crate) async fn write(&self, desired: &Desired) -> Result<(), StoreError> {
        let directory = self.directory.clone();
        let path = self.path(&desired.request.name);
        let text = serde_json::to_vec_pretty(desired)
            .map_err(|source| StoreError::Malformed { path: path.clone(), source })?;
        on_thread(move || files::replace(&directory, &path, &text)).await
    }

    /// One endpoint.
    pub(crate) async fn read(&self, name: &EndpointName) -> Result<Desired, StoreError> {
        let (path, name) = (self.path(name), name.clone());
        on_thread(move || read(&path, &name)).await
    }

    /// Writes an endpoint with a change. Whoever calls sees to it that nobody else writes it.
    pub(crate) async fn change(
        &self,
        name: &EndpointName,
        change: impl FnOnce(&mut Desired),
    ) -> Result<(), StoreError> {
        let mut desired = self.read(name).await?;
        change(&mut desired);
        self.write(&desired).await
    }

    /// Forgets an endpoint; where that fails, it is still there.
    pub(crate) async fn remove(&self, name: &EndpointName) -> Result<(), StoreError> {
        let directory = self.directory.clone();
        let path = self.path(name);
        on_thread(move || files::remove(&directory, &path)).await
    }

    fn path(&self, name: &EndpointName) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

fn load(directory: &Path) -> Result<Vec<Loaded>, StoreError> {
    let mut loaded = Vec::new();
    for (path, name) in states(directory)? {
        let desired = read(&path, &name);
        loaded.push((name, desired));
    }
    Ok(loaded)
}

/// The files that are an endpoint's state, by name. Those of unfinished work have other endings.
fn states(directory: &Path) -> Result<Vec<(PathBuf, EndpointName)>, StoreError> {
    let names = files::names(directory)?;
    let endpoints = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse::<EndpointName>().ok());
    let mut states: Vec<_> = endpoints.map(|name| (directory.join(format!("{name}.json")), name)).collect();
    states.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(states)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, StoreError> {
    let bytes = retried(|| fs::metadata(path)).map_err(|source| failed("reading", path, source))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(StoreError::TooLarge { path: path.to_owned() });
    }
    retried(|| fs::read(path)).map_err(|source| failed("reading", path, source))
}

fn read(path: &Path, name: &EndpointName) -> Result<Desired, StoreError> {
    /// Read first: a file of another schema may have other fields.
    #[derive(Deserialize)]
    struct Versioned {
        schema: u32,
    }
    let text = read_bounded(path)?;
    let malformed = |source| StoreError::Malformed { path: path.to_owned(), source };
    let Versioned { schema } = serde_json::from_slice(&text).map_err(malformed)?;
    if schema != SCHEMA {
        return Err(StoreError::Schema { path: path.to_owned(), found: schema });
    }
    let desired: Desired = serde_json::from_slice(&text).map_err(malformed)?;
    if desired.request.name != *name {
        return Err(StoreError::OtherName { path: path.to_owned(), found: desired.request.name });
    }
    Ok(desired)
}

/// Everything in a text that reads as a digest: a file of another version names its model too.
fn digests_in(text: &[u8]) -> HashSet<Digest> {
    const PREFIX: &str = "sha256:";
    const HEX_DIGITS: usize = 64;
    let text = String::from_utf8_lossy(text);
    let candidates = text.match_indices(PREFIX).filter_map(|(at, _)| text.get(at..at + PREFIX.len() + HEX_DIGITS));
    candidates.filter_map(|candidate| candidate.parse().ok()).collect()
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::File { operation, path: path.to_owned(), source }
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(StoreError::Thread)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_spec::{Bytes, EndpointRequest};

    use super::*;
    use crate::Preparation;

    fn desired(name: &str) -> Desired {
        let request = EndpointRequest::named(name.parse().unwrap());
        let model = DesiredModel {
            model: Digest::from_sha256([7; 32]),
            bytes: Bytes::from_mebibytes(2),
            metadata: serde_json::json!({"name": name, "inputs": []}).into(),
            preparation: None,
            sample: None,
        };
        Desired { request, revision: 3, content: DesiredContent::Model(Box::new(model)) }
    }

    #[tokio::test]
    async fn what_is_written_is_loaded_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).await.unwrap();
        store.write(&desired("b")).await.unwrap();
        store.write(&desired("a")).await.unwrap();
        let loaded: Vec<_> = store.load().await.unwrap().into_iter().map(|(_, desired)| desired.unwrap()).collect();
        assert_eq!(loaded, [desired("a"), desired("b")]);
        store.remove(&"a".parse().unwrap()).await.unwrap();
        assert_eq!(store.load().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_file_of_a_version_that_prepared_nothing_is_read_and_what_is_prepared_is_named() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).await.unwrap();
        let mut written = desired("a");
        let model = written.model_mut().unwrap();
        let (key, verified) = (Digest::from_sha256([8; 32]), crate::Verified::Sample);
        model.preparation = Some(Preparation::Prepared { key, verified });
        model.sample = Some("{\"inputs\": []}".to_owned());
        store.write(&written).await.unwrap();
        assert_eq!(store.read(&"a".parse().unwrap()).await.unwrap(), written);
        let named = HashSet::from([7, 8].map(|byte| Digest::from_sha256([byte; 32])));
        assert_eq!(store.digests().await.unwrap(), named);

        let path = data.path().join("endpoints/a.json");
        let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for added in ["preparation", "sample"] {
            old.as_object_mut().unwrap().remove(added).unwrap();
        }
        fs::write(&path, old.to_string()).unwrap();
        assert_eq!(store.read(&"a".parse().unwrap()).await.unwrap(), desired("a"));
    }

    #[tokio::test]
    async fn an_unreadable_file_stays_names_its_model_and_costs_no_other() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).await.unwrap();
        store.write(&desired("good")).await.unwrap();
        let endpoints = data.path().join("endpoints");
        let newer = format!("{{\"schema\":2,\"weights\":[\"{}\"]}}", Digest::from_sha256([9; 32]));
        for (name, text) in [("torn", "{\"schema\":1,\"requ"), ("newer", &newer), ("x.json", "never read")] {
            fs::write(endpoints.join(format!("{name}.json")), text).unwrap();
        }
        fs::copy(endpoints.join("good.json"), endpoints.join("copy.json")).unwrap();
        // A second look finds the same: looking has changed nothing.
        for _ in 0..2 {
            let loaded = store.load().await.unwrap();
            let failures: Vec<_> =
                loaded.iter().filter(|(_, desired)| desired.is_err()).map(|(name, _)| name.as_str()).collect();
            assert_eq!(failures, ["copy", "newer", "torn"]);
            assert_eq!(loaded.len(), 4);
        }
        let named = HashSet::from([7, 9].map(|byte| Digest::from_sha256([byte; 32])));
        assert_eq!(store.digests().await.unwrap(), named);
        // Whoever deploys it anew or deletes it has decided.
        store.write(&desired("newer")).await.unwrap();
        store.remove(&"torn".parse().unwrap()).await.unwrap();
        assert_eq!(store.load().await.unwrap().iter().filter(|(_, desired)| desired.is_ok()).count(), 2);
    }
}
