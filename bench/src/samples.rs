use std::time::{Duration, Instant};

use crate::Failure;

/// Times of one thing, in the order they were taken.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Times `work` and keeps the time if it succeeds.
    pub(crate) fn time(&mut self, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        let begun = Instant::now();
        work()?;
        self.0.push(begun.elapsed());
        Ok(())
    }

    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The sample below which this share of all lie, in milliseconds; nearest rank.
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
    }

    pub(crate) fn median_ms(&self) -> f64 {
        self.percentile_ms(0.5)
    }
}
