//! Images that nobody uses go, the longest unused first, where the disk that they are on is too full.

mod choice;
mod known;
mod thresholds;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dormouse_image::DiskUse;
use dormouse_spec::{Bytes, Digest, ImageReference};
use prometheus::IntCounter;

pub use thresholds::{GcThresholds, NoThresholds};

use super::{ImageError, Images, Inner};
use choice::{Chosen, choose_for, freed};
use known::Known;

/// Between two looks at the disk, which others fill too.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);

/// What is counted of images that went.
#[derive(Debug, Clone)]
pub(crate) struct GcCounters {
    pub(crate) images: IntCounter,
    pub(crate) bytes: IntCounter,
}

/// What is remembered from one look at the disk to the next.
#[derive(Debug)]
pub(super) struct Watermark {
    thresholds: Option<GcThresholds>,
    counters: GcCounters,
    /// That no more can go was told, and that it is not known what could: once, and not at every look.
    is_stuck_told: AtomicBool,
    is_unknown_told: AtomicBool,
}

impl Watermark {
    pub(super) fn new(thresholds: Option<GcThresholds>, counters: GcCounters) -> Self {
        let untold = || AtomicBool::new(false);
        Self { thresholds, counters, is_stuck_told: untold(), is_unknown_told: untold() }
    }
}

impl Images {
    /// Looks at the disk now and then, for as long as the daemon does not end.
    pub(crate) async fn watch_disk(self) {
        if self.inner.watermark.thresholds.is_none() {
            return;
        }
        let mut draining = self.inner.draining.clone();
        let mut ending = std::pin::pin!(draining.wait_for(|draining| *draining));
        while tokio::time::timeout(LOOK_EVERY, &mut ending).await.is_err() {
            self.inner.make_room(Bytes::default()).await;
        }
    }

    /// Has images go, if that is what it takes, so that so much can be stored. True where some went. Whoever asks
    /// stores nothing meanwhile.
    pub(super) async fn make_room_for(&self, needs: Bytes) -> bool {
        let inner = Arc::clone(&self.inner);
        // In a task of its own: who asked may go away, and must not leave it half done.
        let making_room = tokio::spawn(async move { inner.make_room(inner.store.available_for(needs)).await });
        making_room.await.unwrap_or(false)
    }

    /// The disk that images are on, and when they make room on it.
    ///
    /// # Errors
    /// Where the disk cannot be asked.
    pub async fn disk(&self) -> Result<(DiskUse, Option<GcThresholds>), ImageError> {
        Ok((self.inner.store.disk_use().await?, self.inner.watermark.thresholds))
    }

    /// Whether images make room at all.
    pub(super) fn makes_room(&self) -> bool {
        self.inner.watermark.thresholds.is_some()
    }
}

impl Inner {
    /// Has images go where more than the high threshold is in use, or less than `wanted` is available. True where some
    /// went. Runs in a task that nobody drops.
    pub(super) async fn make_room(&self, wanted: Bytes) -> bool {
        let Some(thresholds) = self.watermark.thresholds else { return false };
        let made = self.remove_unused(thresholds, wanted).await;
        made.unwrap_or_else(|error| {
            if !self.watermark.is_unknown_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "no image makes room on the disk: what could go is not known"
                );
            }
            false
        })
    }

    async fn remove_unused(&self, thresholds: GcThresholds, wanted: Bytes) -> Result<bool, ImageError> {
        let _only_one = self.collecting.lock().await;
        let missing = |disk: DiskUse| (wanted.saturating_sub(disk.available), thresholds.excess(disk));
        if missing(self.store.disk_use().await?) == Default::default() {
            self.watermark.is_stuck_told.store(false, Ordering::Relaxed);
            return Ok(false);
        }
        // Whoever stores something or is about to run an image looks again when that is done.
        let Ok(nothing_unnamed) = self.unnamed.try_write() else { return Ok(false) };
        // What is garbage already, or kept for the next attempt of a pull, is no reason for images to go; and where that cannot be deleted, nothing would become
        // available by more of it.
        self.failed.let_go();
        if self.collect_alone(&nothing_unnamed).await.is_incomplete {
            return Ok(false);
        }
        let disk = self.store.disk_use().await?;
        let (short, excess) = missing(disk);
        let known = self.known().await?;
        self.watermark.is_unknown_told.store(false, Ordering::Relaxed);
        let chosen = choose_for(&known.images, &known.needed, (short, excess), thresholds.minimum_age());
        let names_of = |chosen: &Chosen| known.names.get(&chosen.manifest).into_iter().flatten().cloned();
        let names: BTreeMap<ImageReference, Digest> =
            chosen.iter().flat_map(|chosen| names_of(chosen).map(|name| (name, chosen.manifest))).collect();
        let mut is_complete = true;
        if !names.is_empty() {
            self.store.unname(names).await?;
            is_complete = !self.collect_alone(&nothing_unnamed).await.is_incomplete;
            self.store.settle().await?;
        }
        let is_exceeded = excess > Bytes::default();
        let reason =
            if is_exceeded { "the disk is above gc_high_threshold_percent" } else { "another image needs its room" };
        for chosen in &chosen {
            let freed = if is_complete { chosen.bytes } else { Bytes::default() };
            self.tell_gone(Chosen { bytes: freed, ..*chosen }, &known, disk, reason);
        }
        let left = excess.saturating_sub(freed(&chosen));
        // What is too young now goes at another look.
        if left > Bytes::default() && !known.images.iter().any(|image| image.is_too_young(thresholds.minimum_age())) {
            self.tell_stuck(disk, left, thresholds);
        }
        Ok(is_complete && !chosen.is_empty())
    }

    fn tell_gone(&self, chosen: Chosen, known: &Known, disk: DiskUse, reason: &str) {
        let names = known.names.get(&chosen.manifest);
        let names: Vec<String> = names.into_iter().flatten().map(ImageReference::familiar).collect();
        tracing::info!(
            image = names.join(", "),
            digest = %chosen.manifest,
            bytes_freed = chosen.bytes.get(),
            reason,
            disk_used_percent = disk.used_percent(),
            "an image that nobody used for the longest time was removed"
        );
        let counters = &self.watermark.counters;
        counters.bytes.inc_by(chosen.bytes.get());
        counters.images.inc();
    }

    fn tell_stuck(&self, disk: DiskUse, missing: Bytes, thresholds: GcThresholds) {
        if self.watermark.is_stuck_told.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            disk = %self.store.path().display(),
            "the disk is too full, and no further image may be removed: {} % of {} were in use, and {} MiB more would have \
             to be free for gc_low_threshold_percent = {}; images that endpoints run take the room, or other things",
            disk.used_percent(),
            disk.capacity,
            missing.get().div_ceil(1 << 20),
            thresholds.low_percent(),
        );
    }
}
