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

use super::{ImageError, Unnamed, locks::Locks};
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

/// Where the spawner's answers go. One thing at a time is asked of a layer, so an answer is that one's.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerAnswers(Arc<Mutex<HashMap<Digest, oneshot::Sender<Outcome>>>>);

impl LayerAnswers {
    /// Hands on what was told of a layer; an event about something else comes back.
    pub(crate) fn take(&self, event: Event) -> Option<Event> {
        let (diff_id, outcome) = match event {
            Event::LayerUnpacked { diff_id, .. } | Event::LayerRemoved { diff_id } => (diff_id, Ok(())),
            Event::LayerFailed { diff_id, reason } => (diff_id, Err(reason)),
            other => return Some(other),
        };
        match self.waiting().remove(&diff_id) {
            Some(waiter) => drop(waiter.send(outcome)),
            None => tracing::debug!(%diff_id, "the spawner told of a layer that nobody asked for"),
        }
        None
    }

    fn wait_for(&self, diff_id: Digest) -> oneshot::Receiver<Outcome> {
        let (told, outcome) = oneshot::channel();
        self.waiting().insert(diff_id, told);
        outcome
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, oneshot::Sender<Outcome>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the spawner for layers.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    outbox: Outbox,
    answers: LayerAnswers,
    turns: Arc<Semaphore>,
    asked: Arc<Locks>,
    directory: PathBuf,
}

impl Layers {
    pub(crate) fn new(data: &std::path::Path, outbox: Outbox, answers: LayerAnswers) -> Self {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        Self { outbox, answers, turns, asked: Arc::default(), directory: data.join(DIRECTORY) }
    }

    /// Has a layer unpacked from its blob, which `unnamed` keeps; one that is there already costs nothing.
    /// `image` is for errors.
    pub(super) async fn unpack(
        &self,
        layer: &Layer,
        bytes_max: Bytes,
        image: &str,
        unnamed: &Arc<Unnamed>,
    ) -> Result<(), ImageError> {
        let request = Request::UnpackLayer {
            blob: layer.blob.digest,
            diff_id: layer.diff_id,
            compression: super::compression(layer.compression),
            bytes_max: bytes_max.get(),
        };
        let outcome = self.ask(layer.diff_id, request, Some(Arc::clone(unnamed))).await?;
        outcome.map_err(|reason| ImageError::Unpack { image: image.to_owned(), layer: layer.blob.digest, reason })
    }

    pub(super) async fn remove(&self, diff_id: Digest) -> Result<(), ImageError> {
        let outcome = self.ask(diff_id, Request::RemoveLayer { diff_id }, None).await?;
        outcome.map_err(|reason| ImageError::RemoveLayer { diff_id, reason })
    }

    /// Waits for the answer in a task of its own: who asked may go away, and the next answer about this layer
    /// must not be taken for this one.
    async fn ask(
        &self,
        diff_id: Digest,
        request: Request,
        unnamed: Option<Arc<Unnamed>>,
    ) -> Result<Outcome, ImageError> {
        let layers = self.clone();
        let asked = tokio::spawn(async move {
            let _only_one = layers.asked.lock(diff_id).await;
            let _turn = layers.turns.acquire().await;
            let outcome = layers.answers.wait_for(diff_id);
            layers.outbox.send(request).await;
            let outcome = outcome.await;
            drop(unnamed);
            outcome
        });
        asked.await.map_err(ImageError::Task)?.map_err(|_| ImageError::SpawnerGone)
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
