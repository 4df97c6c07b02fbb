use std::time::Duration;

/// Values of one thing in the order they were taken; times are in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample.as_secs_f64() * 1e3);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    /// The value below which this share of all lie, by nearest rank. NaN where there is none.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        percentile(self.0.clone(), share)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(0.5)
    }

    /// The first and the second half of the run.
    pub(super) fn halves(&self) -> (Self, Self) {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        (Self(first.to_vec()), Self(second.to_vec()))
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

pub(super) fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let samples: Samples = (1..=10).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.1, 0.5, 0.51, 0.99, 1.0].map(|share| samples.percentile(share)), [1., 1., 5., 6., 10., 10.]);
        assert_eq!(samples.values()[0], 10.0, "the order stays");
    }

    #[test]
    fn nothing_has_no_median() {
        assert!(Samples::default().median().is_nan());
    }
}
