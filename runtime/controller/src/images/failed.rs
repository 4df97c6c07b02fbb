//! Pulls that failed: why, and what they had fetched, which the next attempt finds in the store.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dormouse_spec::{Digest, ImageReference};
use tokio::time::{Instant, sleep_until};

use super::{ImageError, Inner, garbage::Reachable};
use crate::error_chain;

/// So many are remembered, the latest.
const REMEMBERED_MAX: usize = 16;
/// How long what one had fetched stays: long enough to try again on a bad line, and to come back to it.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// Each is of another reference.
#[derive(Debug, Default)]
pub(super) struct FailedPulls(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// The latest last.
    pulls: VecDeque<FailedPull>,
    /// Somebody waits for the end of what is kept.
    is_watched: bool,
}

#[derive(Debug)]
struct FailedPull {
    reference: ImageReference,
    reason: String,
    /// Of the image, be it fetched by then or not.
    wanted: Reachable,
    kept_until: Instant,
}

impl FailedPulls {
    /// An attempt that did not come to know what it wanted changes nothing of what the one before had fetched.
    pub(super) fn note(&self, reference: ImageReference, reason: String, wanted: Option<Reachable>) {
        let mut remembered = self.lock();
        let before = remembered.pulls.iter().position(|pull| pull.reference == reference);
        let before = before.and_then(|index| remembered.pulls.remove(index));
        let (wanted, kept_until) = match (wanted, before) {
            (None, Some(before)) => (before.wanted, before.kept_until),
            (wanted, _) => (wanted.unwrap_or_default(), Instant::now() + KEPT_FOR),
        };
        if remembered.pulls.len() >= REMEMBERED_MAX {
            remembered.pulls.pop_front();
        }
        remembered.pulls.push_back(FailedPull { reference, reason, wanted, kept_until });
    }

    /// It is here now, or is not wanted any more.
    pub(super) fn forget(&self, reference: &ImageReference) {
        self.lock().pulls.retain(|pull| pull.reference != *reference);
    }

    pub(super) fn reason(&self, reference: &ImageReference) -> Option<String> {
        self.lock().pulls.iter().find(|pull| pull.reference == *reference).map(|pull| pull.reason.clone())
    }

    /// What is not garbage yet.
    pub(super) fn keep(&self, reachable: &mut Reachable) {
        let now = Instant::now();
        for pull in self.lock().pulls.iter().filter(|pull| pull.kept_until > now) {
            reachable.extend(&pull.wanted);
        }
    }

    /// The room is needed, or wanted back. Why they failed stays.
    pub(super) fn let_go(&self) {
        self.lock().pulls.iter_mut().for_each(|pull| pull.wanted = Reachable::default());
    }

    /// The end of what is kept next, for the one who has to see to it; none where there is nothing, and nobody has to.
    fn next_end(&self) -> Option<Instant> {
        let mut remembered = self.lock();
        let now = Instant::now();
        let kept = remembered.pulls.iter().filter(|pull| !pull.wanted.is_empty()).map(|pull| pull.kept_until);
        let next = kept.filter(|until| *until > now).min();
        remembered.is_watched = next.is_some();
        next
    }

    /// Whether nobody did yet.
    fn watch(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_watched, true)
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Remembers why a pull failed, and keeps what it fetched of what it wanted where that is worth it. While nothing is
    /// collected yet.
    pub(super) fn note_failed(
        self: &Arc<Self>,
        reference: ImageReference,
        error: &ImageError,
        wanted: Option<&Reachable>,
    ) {
        // What is wrong with the image itself is so at the next attempt too, and a full disk is to have its room back.
        let is_in_vain = matches!(error, ImageError::Unpack { .. } | ImageError::Document { .. });
        let wanted = match wanted {
            Some(_) if is_in_vain || error.without_room().is_some() => Some(Reachable::default()),
            wanted => wanted.cloned(),
        };
        self.failed.note(reference, error_chain::one_line(error), wanted);
        if self.failed.watch() {
            tokio::spawn(Arc::clone(self).collect_what_was_kept());
        }
    }

    async fn collect_what_was_kept(self: Arc<Self>) {
        while let Some(end) = self.failed.next_end() {
            sleep_until(end).await;
            self.collect().await;
        }
    }
}

impl Reachable {
    fn extend(&mut self, other: &Self) {
        self.blobs.extend(&other.blobs);
        self.layers.extend(&other.layers);
    }

    fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.layers.is_empty()
    }

    pub(super) fn of(blobs: impl IntoIterator<Item = Digest>, layers: impl IntoIterator<Item = Digest>) -> Self {
        Self { blobs: HashSet::from_iter(blobs), layers: HashSet::from_iter(layers) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn image(number: usize) -> ImageReference {
        format!("example.org/image-{number}").parse().unwrap()
    }

    fn digest(number: u8) -> Digest {
        Digest::from_sha256([number; 32])
    }

    fn kept(failed: &FailedPulls) -> HashSet<Digest> {
        let mut reachable = Reachable::default();
        failed.keep(&mut reachable);
        reachable.blobs.union(&reachable.layers).copied().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_fetched_is_kept_for_an_hour_and_the_reason_for_longer() {
        let failed = FailedPulls::default();
        failed.note(image(1), "cut off".to_owned(), Some(Reachable::of([digest(1)], [digest(2)])));
        assert!(failed.watch() && !failed.watch(), "one waits for the end");
        assert_eq!(kept(&failed), [digest(1), digest(2)].into());
        let end = failed.next_end().unwrap();
        tokio::time::advance(KEPT_FOR - Duration::from_secs(1)).await;
        failed.note(image(2), "cut off too".to_owned(), Some(Reachable::of([digest(3)], [])));
        failed.note(image(2), "nobody answers".to_owned(), None);
        assert_eq!(failed.next_end(), Some(end));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(kept(&failed), [digest(3)].into());
        tokio::time::advance(KEPT_FOR).await;
        assert_eq!((kept(&failed), failed.next_end()), (HashSet::new(), None));
        assert!(failed.watch(), "nobody waits any more");
        assert_eq!(failed.reason(&image(1)), Some("cut off".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_succeeds_is_forgotten_and_room_that_is_needed_is_given() {
        let failed = FailedPulls::default();
        failed.note(image(1), "a".to_owned(), Some(Reachable::of([digest(1)], [])));
        failed.note(image(2), "b".to_owned(), Some(Reachable::of([digest(2)], [])));
        failed.forget(&image(1));
        assert_eq!((kept(&failed), failed.reason(&image(1))), ([digest(2)].into(), None));
        failed.let_go();
        assert_eq!((kept(&failed), failed.reason(&image(2))), (HashSet::new(), Some("b".to_owned())));
        assert_eq!(failed.next_end(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_are_remembered_and_each_reference_once() {
        let failed = FailedPulls::default();
        for number in 0..=REMEMBERED_MAX {
            for reason in ["first", "second"] {
                failed.note(image(number), reason.to_owned(), None);
            }
        }
        assert_eq!(failed.reason(&image(0)), None);
        assert_eq!(failed.reason(&image(1)), Some("second".to_owned()));
    }
}
