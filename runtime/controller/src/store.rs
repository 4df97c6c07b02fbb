//! Desired state: one file per endpoint, written so that a crash leaves the old or the new one.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use dormouse_spec::{Bytes, Digest, EndpointName, EndpointRequest};
use serde::{Deserialize, Serialize};

/// The layout of a file. One of another number is not read, and not overwritten either.
const SCHEMA: u32 = 1;
/// The largest file that is read: a request and the metadata of a model.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What a file that cannot be read is renamed to, so that nothing is lost.
const ASIDE_SUFFIX: &str = ".unreadable";

/// What an endpoint is to be: what was asked, and the model it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Desired {
    schema: u32,
    pub(crate) request: EndpointRequest,
    pub(crate) revision: u32,
    pub(crate) model: Digest,
    pub(crate) model_bytes: Bytes,
    pub(crate) metadata: serde_json::Value,
}

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

impl Desired {
    pub(crate) fn new(
        request: EndpointRequest,
        revision: u32,
        model: Digest,
        model_bytes: Bytes,
        metadata: serde_json::Value,
    ) -> Self {
        Self { schema: SCHEMA, request, revision, model, model_bytes, metadata }
    }
}

impl Store {
    /// # Errors
    /// Where the directory cannot be made.
    pub(crate) async fn open(data: &Path) -> Result<Self, StoreError> {
        let directory = data.join("endpoints");
        let store = Self { directory: directory.clone() };
        on_thread(move || fs::create_dir_all(&directory).map_err(|source| failed("making", &directory, source)))
            .await?;
        Ok(store)
    }

    /// All endpoints. A file that cannot be read is put aside and costs only its own endpoint.
    pub(crate) async fn load(&self) -> Result<Vec<Loaded>, StoreError> {
        let directory = self.directory.clone();
        on_thread(move || load(&directory)).await
    }

    /// The commit point of a deploy: after it, a restart finds the new state, before it the old.
    pub(crate) async fn write(&self, desired: &Desired) -> Result<(), StoreError> {
        let directory = self.directory.clone();
        let path = self.path(&desired.request.name);
        let text = serde_json::to_vec_pretty(desired)
            .map_err(|source| StoreError::Malformed { path: path.clone(), source })?;
        on_thread(move || replace(&directory, &path, &text)).await
    }

    /// Forgets an endpoint, and what was put aside of it.
    pub(crate) async fn remove(&self, name: &EndpointName) -> Result<(), StoreError> {
        let directory = self.directory.clone();
        let path = self.path(name);
        on_thread(move || {
            for path in [aside(&path), path] {
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("removing", &path, source));
                    }
                    _ => {}
                }
            }
            sync(&directory)
        })
        .await
    }

    fn path(&self, name: &EndpointName) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

fn load(directory: &Path) -> Result<Vec<Loaded>, StoreError> {
    let mut loaded = Vec::new();
    let reading = |source| failed("reading", directory, source);
    for entry in fs::read_dir(directory).map_err(reading)? {
        let path = entry.map_err(reading)?.path();
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Temporary files of an interrupted write have another ending and stay unread.
        let name = file_name.strip_suffix(".json").and_then(|stem| stem.parse::<EndpointName>().ok());
        let Some(name) = name else { continue };
        let desired = read(&path, &name);
        if desired.is_err() {
            fs::rename(&path, aside(&path)).map_err(|source| failed("putting aside", &path, source))?;
        }
        loaded.push((name, desired));
    }
    loaded.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(loaded)
}

fn read(path: &Path, name: &EndpointName) -> Result<Desired, StoreError> {
    /// Read first: a file of another schema may have other fields.
    #[derive(Deserialize)]
    struct Versioned {
        schema: u32,
    }
    let bytes = fs::metadata(path).map_err(|source| failed("reading", path, source))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(StoreError::TooLarge { path: path.to_owned() });
    }
    let text = fs::read(path).map_err(|source| failed("reading", path, source))?;
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

/// Writes beside the file, makes that durable, and only then lets it take the file's place.
fn replace(directory: &Path, path: &Path, text: &[u8]) -> Result<(), StoreError> {
    let beside = path.with_extension("json.new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(text)?;
        file.sync_all()
    };
    write().map_err(|source| failed("writing", &beside, source))?;
    fs::rename(&beside, path).map_err(|source| failed("replacing", path, source))?;
    sync(directory)
}

fn sync(directory: &Path) -> Result<(), StoreError> {
    let sync = || File::open(directory)?.sync_all();
    sync().map_err(|source| failed("syncing", directory, source))
}

fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(ASIDE_SUFFIX);
    aside.into()
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
    use super::*;

    fn desired(name: &str) -> Desired {
        let request = EndpointRequest::named(name.parse().unwrap());
        let metadata = serde_json::json!({"name": name, "inputs": []});
        Desired::new(request, 3, Digest::from_sha256([7; 32]), Bytes::from_mebibytes(2), metadata)
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
    async fn an_unreadable_file_is_put_aside_and_the_others_load() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).await.unwrap();
        store.write(&desired("good")).await.unwrap();
        let endpoints = data.path().join("endpoints");
        for (name, text) in [("torn", "{\"schema\":1,\"requ"), ("newer", "{\"schema\":2}"), ("x.json", "never read")] {
            fs::write(endpoints.join(format!("{name}.json")), text).unwrap();
        }
        fs::copy(endpoints.join("good.json"), endpoints.join("copy.json")).unwrap();
        fs::write(endpoints.join("half.json.new"), "half").unwrap();
        let loaded = store.load().await.unwrap();
        let failures: Vec<_> =
            loaded.iter().filter(|(_, desired)| desired.is_err()).map(|(name, _)| name.as_str()).collect();
        assert_eq!(failures, ["copy", "newer", "torn"]);
        assert_eq!(fs::read_to_string(endpoints.join("torn.json.unreadable")).unwrap(), "{\"schema\":1,\"requ");
        let again = store.load().await.unwrap();
        assert_eq!(again.len(), 1);
        assert!(again[0].1.is_ok());
    }
}
