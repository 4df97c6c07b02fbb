use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dormouse_spec::Digest;

use super::StoreError;

/// Models that somebody holds between storing them and writing down that they are wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins {
    counts: Arc<Mutex<HashMap<Digest, usize>>>,
}

/// Keeps one model from being removed.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Pins,
    digest: Digest,
}

impl Pins {
    /// Pins the model after `place` has put it where it belongs, with no removal in between.
    pub(super) fn pin_after<T>(
        &self,
        digest: Digest,
        place: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(Pin, T), StoreError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = place()?;
        *counts.entry(digest).or_default() += 1;
        drop(counts);
        Ok((Pin { pins: self.clone(), digest }, placed))
    }

    /// Does `work`, during which nobody can pin the model.
    pub(super) fn unless_pinned<T>(&self, digest: &Digest, work: impl FnOnce() -> T) -> Result<T, StoreError> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.contains_key(digest) { Err(StoreError::Pinned { digest: *digest }) } else { Ok(work()) }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut counts = self.pins.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.digest);
            }
        }
    }
}
