use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use dormouse_sandbox::messages::{ExitCause, ReplicaId};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{Address, LossCause};

/// The right to send one request to one replica. Dropping it gives the right back.
///
/// A returned lease is a count on its replica and a wake-up of the endpoint's task. So returning
/// never waits, never fails and takes no memory, however many come back at once.
#[derive(Debug)]
pub struct Lease {
    replica: Arc<Leased>,
    /// Where it is the first since its replica was woken.
    first: Option<Arc<FirstUse>>,
}

/// What became of the first request that a replica got since it was woken.
#[derive(Debug, Default)]
pub(crate) struct FirstUse {
    answered: OnceLock<Instant>,
    over: AtomicBool,
}

impl FirstUse {
    /// When its answer began.
    pub(crate) fn answered(&self) -> Option<Instant> {
        self.answered.get().copied()
    }

    /// Whether its lease is back.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// What the holders of a replica's leases share with the endpoint's task.
#[derive(Debug)]
pub(crate) struct Leased {
    id: ReplicaId,
    address: Address,
    returned: AtomicU32,
    served: AtomicBool,
    silent: AtomicBool,
    deaf: AtomicBool,
    lost: watch::Sender<Option<LossCause>>,
    wake: Arc<Notify>,
}

impl Leased {
    pub(crate) fn new(id: ReplicaId, address: Address, wake: Arc<Notify>) -> Self {
        Self {
            id,
            address,
            returned: AtomicU32::new(0),
            served: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            lost: watch::Sender::new(None),
            wake,
        }
    }

    pub(crate) fn id(&self) -> &ReplicaId {
        &self.id
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Leases that came back since this was last asked.
    pub(crate) fn take_returned(&self) -> u32 {
        self.returned.swap(0, Ordering::AcqRel)
    }

    /// Whether a holder was served since this was last asked.
    pub(crate) fn take_served(&self) -> bool {
        self.served.swap(false, Ordering::AcqRel)
    }

    /// Whether a holder found the replica silent since this was last asked.
    pub(crate) fn take_silent(&self) -> bool {
        self.silent.swap(false, Ordering::AcqRel)
    }

    /// Whether a holder found that nothing listens in it, since this was last asked.
    pub(crate) fn take_deaf(&self) -> bool {
        self.deaf.swap(false, Ordering::AcqRel)
    }

    /// Tells those who hold leases; the first cause stays.
    pub(crate) fn lose(&self, cause: LossCause) {
        self.lost.send_if_modified(|lost| {
            let is_first = lost.is_none();
            lost.get_or_insert(cause);
            is_first
        });
    }
}

impl Lease {
    pub(crate) fn new(replica: Arc<Leased>, first: Option<Arc<FirstUse>>) -> Self {
        Self { replica, first }
    }

    /// Whether the answer to this request ends a wake, which [`Self::tell_answered`] tells.
    #[must_use]
    pub fn ends_a_wake(&self) -> bool {
        self.first.is_some()
    }

    /// Says that the head of the answer is here.
    pub fn tell_answered(&self) {
        if let Some(first) = &self.first {
            let _ = first.answered.set(Instant::now());
            self.replica.wake.notify_one();
        }
    }

    #[must_use]
    pub fn replica(&self) -> &ReplicaId {
        &self.replica.id
    }

    /// Where the replica speaks HTTP/1.1.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.replica.address
    }

    /// Says that the replica did its part: what it answered was whole, or nobody wanted more of it. Told to the endpoint with
    /// the lease.
    pub fn tell_served(&self) {
        self.replica.served.store(true, Ordering::Release);
    }

    /// Says that the replica answers nothing at all any more. It is killed, and another one serves.
    pub fn tell_silent(&self) {
        self.replica.silent.store(true, Ordering::Release);
        self.replica.wake.notify_one();
    }

    /// Says that nothing listens in the replica any more. It gets no more requests, keeps those that it has, and ends
    /// with the last of them.
    pub fn tell_deaf(&self) {
        self.replica.deaf.store(true, Ordering::Release);
        self.replica.wake.notify_one();
    }

    /// Resolves when the replica is dead, with the cause. A connection to it would never tell
    /// (its socket is held open elsewhere), so every wait for its answer races with this.
    pub async fn lost(&self) -> LossCause {
        let mut lost = self.replica.lost.subscribe();
        match lost.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or(LossCause::Ended(ExitCause::Stopped)),
            // The sender lives as long as this lease does.
            Err(_) => LossCause::Ended(ExitCause::Stopped),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(first) = &self.first {
            first.over.store(true, Ordering::Release);
        }
        self.replica.returned.fetch_add(1, Ordering::AcqRel);
        self.replica.wake.notify_one();
    }
}
