//! Accepting where the process may be short of descriptors.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};
use tokio::time::sleep;

/// How long accepting pauses where the process has no descriptor left for one more connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a shortage that lasts is told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// What the node holds besides clients' connections: listeners, channel, timers, logs of some replicas,
/// a deploy's files.
const DESCRIPTORS_RESERVED: u64 = 256;
/// A client's connection, and the one to the replica that answers it.
const DESCRIPTORS_A_CONNECTION: u64 = 2;

/// What became of connections that could not be accepted.
#[derive(Debug)]
pub(crate) struct Shortage {
    whose: &'static str,
    told: Option<Instant>,
}

impl Shortage {
    pub(crate) fn new(whose: &'static str) -> Self {
        Self { whose, told: None }
    }

    /// After a failure: waits where trying again at once would only fail again.
    pub(crate) async fn failed(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, whose = self.whose, "accepting a connection failed; it is tried again");
        }
        sleep(PAUSE).await;
    }
}

/// Whether the next connection may well be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

/// As many connections as were asked for, and no more than there are descriptors for.
pub(crate) fn connections_within_limit(asked: u32) -> usize {
    let connections = connections_within(getrlimit(Resource::Nofile).current, asked);
    if connections < asked as usize {
        tracing::warn!(asked, connections, "fewer connections than configured: the limit of open files is for no more");
    }
    connections
}

/// `None` is no limit.
fn connections_within(descriptors: Option<u64>, asked: u32) -> usize {
    let fit = descriptors.map_or(u64::MAX, |limit| {
        // However few there are, somebody is answered.
        limit.saturating_sub(DESCRIPTORS_RESERVED).max(limit / 4) / DESCRIPTORS_A_CONNECTION
    });
    usize::try_from(fit.clamp(1, u64::from(asked.max(1)))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_limit() {
        assert_eq!(connections_within(None, 1_024), 1_024);
        assert_eq!(connections_within(Some(1 << 20), 1_024), 1_024);
        assert_eq!(connections_within(Some(1_024), 1_024), 384);
        assert_eq!(connections_within(Some(64), 1_024), 8);
        assert_eq!(connections_within(Some(0), 1_024), 1);
    }

    #[test]
    fn only_a_shortage_makes_others_wait() {
        let of_code = io::Error::from_raw_os_error;
        let errno = rustix::io::Errno::raw_os_error;
        for one in [rustix::io::Errno::CONNABORTED, rustix::io::Errno::INTR] {
            assert!(is_of_one_connection(&of_code(errno(one))));
        }
        for all in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOMEM] {
            assert!(!is_of_one_connection(&of_code(errno(all))));
        }
    }
}
