//! Layers on disk: the spawner's, who unpacks and removes them when it is asked.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use dormouse_image::oci::Layer;
use dormouse_sandbox::messages::{Event, LeftOut, Request};
use dormouse_spec::{Bytes, Digest};
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use super::ImageError;
use crate::link::Outbox;

/// Layers that are unpacked or removed at a time: the disk gains nothing from more, and the spawner refuses
/// them.
const AT_A_TIME: usize = 2;
/// The longest record of a layer that is read.
const RECORD_BYTES_MAX: u64 = 256 << 10;
const DIRECTORY: &str = "layers";
const RECORD: &str = "layer.json";

/// What the spawner wrote down of a layer.
#[derive(Debug, Deserialize)]
pub(super) struct LayerRecord {
    /// Of its archive, decompressed.
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) left_out: LeftOut,
}

/// What became of a layer that was asked for.
type Outcome = Result<(), String>;

/// Where the spawner's answers go.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerAnswers(Arc<Mutex<HashMap<Digest, Vec<oneshot::Sender<Outcome>>>>>);

impl LayerAnswers {
    /// Hands on what was told of a layer; an event about something else comes back.
    pub(crate) fn take(&self, event: Event) -> Option<Event> {
        let (diff_id, outcome) = match event {
            Event::LayerUnpacked { diff_id, .. } | Event::LayerRemoved { diff_id } => (diff_id, Ok(())),
            Event::LayerFailed { diff_id, reason } => (diff_id, Err(reason)),
            other => return Some(other),
        };
        let waiting = self.waiting().remove(&diff_id);
        for waiter in waiting.into_iter().flatten() {
            // Whoever asked may have gone away.
            let _ = waiter.send(outcome.clone());
        }
        None
    }

    fn wait_for(&self, diff_id: Digest) -> oneshot::Receiver<Outcome> {
        let (told, outcome) = oneshot::channel();
        self.waiting().entry(diff_id).or_default().push(told);
        outcome
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Vec<oneshot::Sender<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the spawner for layers.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    outbox: Outbox,
    answers: LayerAnswers,
    turns: Arc<Semaphore>,
    directory: PathBuf,
}

impl Layers {
    pub(crate) fn new(data: &std::path::Path, outbox: Outbox, answers: LayerAnswers) -> Self {
        Self { outbox, answers, turns: Arc::new(Semaphore::new(AT_A_TIME)), directory: data.join(DIRECTORY) }
    }

    /// Has a layer unpacked from its blob, which the caller holds; one that is there already costs nothing.
    /// `image` is for errors.
    pub(super) async fn unpack(&self, layer: &Layer, bytes_max: Bytes, image: &str) -> Result<(), ImageError> {
        let request = Request::UnpackLayer {
            blob: layer.blob.digest,
            diff_id: layer.diff_id,
            compression: super::compression(layer.compression),
            bytes_max: bytes_max.get(),
        };
        let outcome = self.ask(layer.diff_id, request).await?;
        outcome.map_err(|reason| ImageError::Unpack { image: image.to_owned(), layer: layer.blob.digest, reason })
    }

    pub(super) async fn remove(&self, diff_id: Digest) -> Result<(), ImageError> {
        let outcome = self.ask(diff_id, Request::RemoveLayer { diff_id }).await?;
        outcome.map_err(|reason| ImageError::RemoveLayer { diff_id, reason })
    }

    async fn ask(&self, diff_id: Digest, request: Request) -> Result<Outcome, ImageError> {
        let _turn = self.turns.acquire().await.map_err(|_| ImageError::SpawnerGone)?;
        let outcome = self.answers.wait_for(diff_id);
        self.outbox.send(request).await;
        outcome.await.map_err(|_| ImageError::SpawnerGone)
    }

    /// The layers that are unpacked. Blocks for as long as reading a directory takes.
    pub(super) fn unpacked(&self) -> Result<HashSet<Digest>, ImageError> {
        let failed = |source| ImageError::Layers { path: self.directory.clone(), source };
        let mut found = HashSet::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let digest = name.to_str().and_then(|name| name.strip_prefix("sha256-"));
            found.extend(digest.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok()));
        }
        Ok(found)
    }

    /// What the spawner wrote down of a layer; none where it is not unpacked. Blocks.
    pub(super) fn record(&self, diff_id: &Digest) -> Option<LayerRecord> {
        let file = File::open(self.directory.join(diff_id.directory_name()).join(RECORD)).ok()?;
        let mut text = Vec::new();
        file.take(RECORD_BYTES_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}
