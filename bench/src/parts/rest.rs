//! How an endpoint comes to rest before it is woken.

use std::time::Duration;

use crate::daemon::EndpointSettings;

/// Before every sample.
const IDLE: Duration = Duration::from_secs(1);

pub(super) fn idle() {
    std::thread::sleep(IDLE);
}

/// Where the endpoint rests before it is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// No replica.
    Zero,
    /// One replica, frozen.
    Frozen,
    /// One replica that has nothing to do.
    Awake,
}

impl Rest {
    /// Of an endpoint that comes to rest here soon, and stays.
    pub(super) fn settings(self) -> EndpointSettings {
        match self {
            Self::Zero => EndpointSettings::resting("100ms", "200ms"),
            Self::Frozen => EndpointSettings::resting("200ms", "10m"),
            Self::Awake => EndpointSettings::resting("9m", "10m"),
        }
    }

    /// The phases of its replicas then.
    pub(super) fn phases(self) -> &'static [&'static str] {
        match self {
            Self::Zero => &[],
            Self::Frozen => &["frozen"],
            Self::Awake => &["ready"],
        }
    }
}
