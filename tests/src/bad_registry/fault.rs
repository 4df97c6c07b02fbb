//! What can be wrong with a registry.

use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// Nothing either: it gives tokens, and serves who brings one.
    WantsToken,
    /// 401 without a word of what it wants.
    NoChallenge,
    /// Gives tokens and takes none.
    RefusesToken,
    Forbidden,
    NotFound,
    TooManyRequests {
        retry_after_seconds: u32,
        times: Times,
    },
    ServerError(Times),
    /// Closes the connection in the middle of a layer.
    CutsLayer(Times),
    /// One bit of each layer is another.
    FlipsLayer,
    /// Half of a layer, of which it says that it is all.
    ShortLayer,
    /// A layer and one byte more, of which it says that it is all.
    LongLayer,
    /// Half of a layer, then nothing, and the connection stays.
    StallsLayer(Times),
    /// A manifest that does not end.
    EndlessManifest,
    /// Another manifest than the one that was asked for by its digest.
    OtherManifest,
    /// The format of 2014.
    Schema1,
}

/// How often something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Always,
    First(u32),
}

/// Counts how often it was.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU32);

impl Count {
    /// Whether it is wrong this time.
    pub(super) fn is_due(&self, times: Times) -> bool {
        match times {
            Times::Always => true,
            Times::First(times) => self.0.fetch_add(1, Ordering::SeqCst) < times,
        }
    }
}
