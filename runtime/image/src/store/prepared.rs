//! Models that were optimised for this machine, by what they were made of and for.
//!
//! ```text
//! DATA/prepared/sha256-<hex>/model.ort      mapped by replicas: 0444 in a directory 0555
//! DATA/prepared/sha256-<hex>/prepared.json  of what it was made, and how it was verified
//! ```

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use bytes::{Buf, Bytes as Chunk};
use dormouse_spec::{Bytes, Digest};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::retry_on_intr,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Inner, StoreError, StoreLimits, blocking, copy::Source, incoming::Incoming, pins::Pin};
use crate::RelativePath;

const DIRECTORY: &str = "prepared";
const MODEL: &str = "model.ort";
const RECORD: &str = "prepared.json";
/// The largest record that is read.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// On what the answers of a prepared model were compared with those of its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verified {
    /// On the request that came with the deploy.
    Sample,
    /// On input made from the names, shapes and types of the model's inputs.
    Seeded,
    /// On none: both refuse every such input.
    No,
}

/// Of what a prepared model was made, and how it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparedRecord {
    pub model: Digest,
    pub bytes: Bytes,
    pub verified: Verified,
    /// The sha256 of the sample it was verified on.
    pub sample: Option<Digest>,
}

/// A prepared model that is in the store and stays there while this value lives.
#[derive(Debug)]
pub struct PreparedModel {
    pub record: PreparedRecord,
    _pin: Pin,
}

/// The prepared models of a node. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct PreparedStore {
    inner: Arc<Inner>,
}

impl PreparedStore {
    /// Opens the store in `data`, as [`super::ModelStore::open`] does. Blocks.
    ///
    /// # Errors
    /// Where the directory cannot be made or read, or another process has it open.
    pub fn open(data: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        Ok(Self { inner: Arc::new(Inner::open(data.join(DIRECTORY), limits)?) })
    }

    /// The prepared model of this key; one that is not whole is none.
    pub async fn find(&self, key: Digest) -> Option<PreparedModel> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.find(key)).await.ok()
    }

    /// Stores what comes over `chunks` under a key, in place of what is there. The record says how
    /// many bytes are to come. Dropping the other end of `chunks` before gives the copy up.
    ///
    /// # Errors
    /// See [`StoreError`]; what was there before is then still there, but where the last step
    /// failed, the sync of the directory.
    pub async fn add(
        &self,
        key: Digest,
        record: PreparedRecord,
        chunks: mpsc::Receiver<Chunk>,
    ) -> Result<PreparedModel, StoreError> {
        let turn = Arc::clone(&self.inner.copying).lock_owned().await;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let stored = inner.add_prepared(key, record, chunks);
            drop(turn);
            stored
        })
        .await
    }

    /// Deletes every prepared model whose key is neither in `reachable` nor held by a
    /// [`PreparedModel`].
    ///
    /// # Errors
    /// Where the disk fails; those that come later are then kept.
    pub async fn collect_garbage(&self, reachable: HashSet<Digest>) -> Result<Vec<Digest>, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.remove_all_but(&reachable)).await
    }
}

impl Inner {
    fn add_prepared(
        &self,
        key: Digest,
        record: PreparedRecord,
        chunks: mpsc::Receiver<Chunk>,
    ) -> Result<PreparedModel, StoreError> {
        let max = self.limits.model_bytes_max;
        if record.bytes > max {
            return Err(StoreError::TooLarge { bytes: record.bytes, max });
        }
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| StoreError::io("writing", &self.path.join(RECORD), io::Error::from(error)))?;
        self.check_free_space(record.bytes.saturating_add(Bytes::new(text.len() as u64)))?;
        let mut incoming = Incoming::create(self)?;
        let mut content = Chunks { chunks, current: Chunk::new() };
        let bytes = record.bytes.get();
        let never_cancelled = AtomicBool::new(false);
        let mut add = |path: &RelativePath, content: &mut dyn Read, bytes| {
            incoming.add(&mut Source { path, content, bytes }, &never_cancelled, |_| {})
        };
        add(&name(MODEL)?, &mut content, bytes)?;
        add(&name(RECORD)?, &mut text.as_slice(), text.len() as u64)?;
        incoming.seal()?;
        let (pin, ()) = self.pins.pin_after(key, || self.place(incoming, &key, |_| false))?;
        Ok(PreparedModel { record, _pin: pin })
    }

    fn find(&self, key: Digest) -> Result<PreparedModel, StoreError> {
        let (pin, record) = self.pins.pin_after(key, || self.read_record(&key))?;
        Ok(PreparedModel { record, _pin: pin })
    }

    fn read_record(&self, key: &Digest) -> Result<PreparedRecord, StoreError> {
        let directory = key.directory_name();
        let failed = |path: &Path, error: io::Error| StoreError::io("reading", &self.path.join(path), error);
        let path = Path::new(&directory).join(RECORD);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = retry_on_intr(|| rustix::fs::openat2(&self.root, &path, flags, Mode::empty(), resolve))
            .map_err(|error| failed(&path, error.into()))?;
        let mut text = Vec::new();
        File::from(file).take(RECORD_BYTES_MAX).read_to_end(&mut text).map_err(|error| failed(&path, error))?;
        let record: PreparedRecord =
            serde_json::from_slice(&text).map_err(|error| failed(&path, io::Error::from(error)))?;
        let model = Path::new(&directory).join(MODEL);
        let stat = retry_on_intr(|| rustix::fs::statat(&self.root, &model, AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|error| failed(&model, error.into()))?;
        let is_whole = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && u64::try_from(stat.st_size) == Ok(record.bytes.get());
        if is_whole { Ok(record) } else { Err(failed(&model, io::Error::other("it is not whole"))) }
    }
}

fn name(text: &str) -> Result<RelativePath, StoreError> {
    text.parse().map_err(|error| StoreError::io("naming", Path::new(text), io::Error::other(error)))
}

/// What comes over a channel, as a reader on a thread that may block.
struct Chunks {
    chunks: mpsc::Receiver<Chunk>,
    current: Chunk,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        if let Some(buffer) = buffer.get_mut(..length) {
            self.current.copy_to_slice(buffer);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
