//! Places that clients take, and who gives one up where all are taken.
//!
//! A place is kept by whoever we owe something: an answer that is being worked on. Whoever we wait
//! for, be it for the head of a request or for the beginning of its body, keeps its place only until
//! somebody else comes and no other is free; then the one that has been waited for longest goes.
//! So no number of clients that say nothing, or next to nothing, keeps others out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// A number of places.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// Somebody is waited for from now on.
    waited_for: Notify,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    next: u64,
    taken: HashMap<u64, Taken>,
    /// Those whom we wait for, the longest first: by turn, the place.
    waited_for: BTreeMap<u64, u64>,
    /// Places that were called back and are not free yet.
    called_back: usize,
}

#[derive(Debug)]
struct Taken {
    /// Since when it is waited for.
    turn: Option<u64>,
    since: Instant,
    /// Requests that came and are not answered yet.
    requests: usize,
    /// Those of them that wait for us and not for the client.
    owed: usize,
    is_called_back: bool,
    call: Arc<Notify>,
}

impl Ledger {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sees to it that a place is in the queue of those who are waited for if, and only if, it is.
    /// `anew` puts it at the end.
    fn requeue(&mut self, id: u64, anew: bool) {
        let turn = self.number();
        let Some(taken) = self.taken.get_mut(&id) else { return };
        if let Some(old) = taken.turn.take_if(|_| anew || taken.owed > 0) {
            self.waited_for.remove(&old);
        }
        if taken.turn.is_none() && taken.owed == 0 && !taken.is_called_back {
            taken.turn = Some(turn);
            self.waited_for.insert(turn, id);
        }
    }

    /// Calls the place back that has been waited for longest. One at a time is enough.
    fn call_one_back(&mut self) {
        if self.called_back > 0 {
            return;
        }
        let Some((_, id)) = self.waited_for.pop_first() else { return };
        if let Some(taken) = self.taken.get_mut(&id) {
            taken.turn = None;
            taken.is_called_back = true;
            taken.call.notify_one();
            self.called_back += 1;
        }
    }
}

impl Places {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Shared {
            free: Arc::new(Semaphore::new(places)),
            waited_for: Notify::new(),
            ledger: Mutex::default(),
        }))
    }

    /// A place, as soon as there is one: at once, unless all are taken by those whom we owe an answer.
    pub(super) async fn take(&self) -> Place {
        let permit = match Arc::clone(&self.0.free).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => self.take_from_another().await,
        };
        let call = Arc::new(Notify::new());
        let mut ledger = self.0.lock();
        let id = ledger.number();
        let taken = Taken {
            turn: None,
            since: Instant::now(),
            requests: 0,
            owed: 0,
            is_called_back: false,
            call: Arc::clone(&call),
        };
        ledger.taken.insert(id, taken);
        ledger.requeue(id, true);
        drop(ledger);
        self.0.waited_for.notify_one();
        Place { id, call, shared: Arc::clone(&self.0), _permit: permit }
    }

    async fn take_from_another(&self) -> Option<OwnedSemaphorePermit> {
        let freed = Arc::clone(&self.0.free).acquire_owned();
        tokio::pin!(freed);
        loop {
            if crate::defence::Defence::PlacesGivenUp.stands() {
                self.0.lock().call_one_back();
            }
            tokio::select! {
                biased;
                // The semaphore is never closed.
                permit = &mut freed => return permit.ok(),
                () = self.0.waited_for.notified() => {}
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place; dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    call: Arc<Notify>,
    shared: Arc<Shared>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Resolves when somebody else needs the place more.
    pub(super) async fn called_back(&self) {
        self.call.notified().await;
    }

    /// Resolves when no request has been under way for so long.
    pub(super) async fn idle(&self, time: Duration) {
        loop {
            let until = {
                let ledger = self.shared.lock();
                let idle = ledger.taken.get(&self.id).filter(|taken| taken.requests == 0);
                idle.map_or_else(Instant::now, |taken| taken.since) + time
            };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// A request came whose client is waited for still.
    pub(super) fn request(&self) -> UnderWay {
        let mut ledger = self.shared.lock();
        if let Some(taken) = ledger.taken.get_mut(&self.id) {
            taken.requests += 1;
        }
        ledger.requeue(self.id, true);
        UnderWay { id: self.id, shared: Arc::clone(&self.shared), is_owed: false, noted: Instant::now() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut ledger = self.shared.lock();
        if let Some(taken) = ledger.taken.remove(&self.id) {
            ledger.called_back -= usize::from(taken.is_called_back);
            if let Some(turn) = taken.turn {
                ledger.waited_for.remove(&turn);
            }
        }
    }
}

/// A request, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct UnderWay {
    id: u64,
    shared: Arc<Shared>,
    is_owed: bool,
    /// When it was noted last that something passes.
    noted: Instant,
}

/// Who waits for a place longest is not so exact a matter.
const NOTED_EVERY: Duration = Duration::from_secs(1);

impl UnderWay {
    /// All of it that we wait for is here: the rest is ours to do.
    pub(super) fn is_ours(&mut self) {
        if !std::mem::replace(&mut self.is_owed, true) {
            let mut ledger = self.shared.lock();
            if let Some(taken) = ledger.taken.get_mut(&self.id) {
                taken.owed += 1;
            }
            ledger.requeue(self.id, false);
        }
    }

    /// The client is as much waited for as we are.
    pub(super) fn is_theirs(&mut self) {
        let mut ledger = self.shared.lock();
        if std::mem::replace(&mut self.is_owed, false)
            && let Some(taken) = ledger.taken.get_mut(&self.id)
        {
            taken.owed -= 1;
        }
        ledger.requeue(self.id, true);
        drop(ledger);
        self.shared.waited_for.notify_one();
    }

    /// A part of an answer passes. Where its client is as much waited for as we are, that is noted now and then.
    pub(super) fn passes(&mut self, now: Instant) {
        if !self.is_owed && now.saturating_duration_since(self.noted) >= NOTED_EVERY {
            self.noted = now;
            self.moved();
        }
    }

    /// The client did something: of those who are waited for it is the last.
    pub(super) fn moved(&self) {
        self.shared.lock().requeue(self.id, true);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut ledger = self.shared.lock();
        if let Some(taken) = ledger.taken.get_mut(&self.id) {
            taken.requests -= 1;
            taken.owed -= usize::from(self.is_owed);
            taken.since = Instant::now();
        }
        ledger.requeue(self.id, true);
        drop(ledger);
        self.shared.waited_for.notify_one();
    }
}

#[cfg(test)]
mod tests;
