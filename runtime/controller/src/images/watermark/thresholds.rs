use std::time::Duration;

use dormouse_image::DiskUse;
use dormouse_spec::Bytes;
use serde::{Deserialize, Serialize};

/// When images make room on the disk that they are on, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct GcThresholds {
    high_percent: u8,
    low_percent: u8,
    minimum_age: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    high_percent: u8,
    low_percent: u8,
    minimum_age: Duration,
}

/// The low threshold is not below the high one, or that is beyond the whole disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{low_percent} % is not below {high_percent} %, or that is more than 100")]
pub struct NoThresholds {
    high_percent: u8,
    low_percent: u8,
}

impl GcThresholds {
    /// Images go where more than `high_percent` of the disk is in use, until no more than `low_percent` is, but none
    /// that was used within `minimum_age`.
    ///
    /// # Errors
    /// Where `low_percent` is not below `high_percent`, or that is above 100.
    pub fn new(high_percent: u8, low_percent: u8, minimum_age: Duration) -> Result<Self, NoThresholds> {
        if low_percent < high_percent && high_percent <= 100 {
            Ok(Self { high_percent, low_percent, minimum_age })
        } else {
            Err(NoThresholds { high_percent, low_percent })
        }
    }

    #[must_use]
    pub fn high_percent(&self) -> u8 {
        self.high_percent
    }

    #[must_use]
    pub fn low_percent(&self) -> u8 {
        self.low_percent
    }

    #[must_use]
    pub fn minimum_age(&self) -> Duration {
        self.minimum_age
    }

    /// What has to go so that no more than the low threshold is in use; nothing where the disk is not above the high
    /// one.
    pub(super) fn excess(&self, disk: DiskUse) -> Bytes {
        if disk.used() <= share(disk.capacity, self.high_percent) {
            return Bytes::default();
        }
        disk.used().saturating_sub(share(disk.capacity, self.low_percent))
    }
}

fn share(of: Bytes, percent: u8) -> Bytes {
    let share = u128::from(of.get()) * u128::from(percent) / 100;
    Bytes::new(u64::try_from(share).unwrap_or(u64::MAX))
}

impl TryFrom<Unchecked> for GcThresholds {
    type Error = NoThresholds;

    fn try_from(Unchecked { high_percent, low_percent, minimum_age }: Unchecked) -> Result<Self, NoThresholds> {
        Self::new(high_percent, low_percent, minimum_age)
    }
}

impl From<GcThresholds> for Unchecked {
    fn from(GcThresholds { high_percent, low_percent, minimum_age }: GcThresholds) -> Self {
        Self { high_percent, low_percent, minimum_age }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn excess(used: u64) -> u64 {
        let disk = DiskUse { capacity: Bytes::new(1_000), available: Bytes::new(1_000 - used) };
        let thresholds = GcThresholds::new(85, 80, Duration::ZERO).unwrap();
        thresholds.excess(disk).get()
    }

    #[test]
    fn nothing_has_to_go_up_to_the_high_threshold_and_above_it_all_down_to_the_low_one() {
        for (used, goal) in [(0, 0), (800, 0), (801, 0), (850, 0), (851, 51), (1_000, 200)] {
            assert_eq!(excess(used), goal, "{used}");
        }
    }

    #[test]
    fn a_disk_of_no_size_and_one_of_the_largest_are_disks() {
        let thresholds = GcThresholds::new(100, 99, Duration::ZERO).unwrap();
        let disk = |capacity| DiskUse { capacity: Bytes::new(capacity), available: Bytes::default() };
        assert_eq!(thresholds.excess(disk(0)), Bytes::default());
        assert_eq!(thresholds.excess(disk(u64::MAX)), Bytes::default(), "no disk is above 100 %");
    }

    #[test]
    fn thresholds_that_are_none_cannot_be_had() {
        for (high, low) in [(80, 80), (80, 85), (101, 80), (0, 0)] {
            assert!(GcThresholds::new(high, low, Duration::ZERO).is_err(), "{high} {low}");
            let text = format!(r#"{{"high_percent":{high},"low_percent":{low},"minimum_age":{{"secs":0,"nanos":0}}}}"#);
            assert!(serde_json::from_str::<GcThresholds>(&text).is_err(), "{text}");
        }
        let thresholds = GcThresholds::new(85, 80, Duration::from_secs(120)).unwrap();
        let told = serde_json::to_string(&thresholds).unwrap();
        assert_eq!(serde_json::from_str::<GcThresholds>(&told).unwrap(), thresholds);
    }
}
