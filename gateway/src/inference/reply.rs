use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use dormouse_controller::LossCause;
use dormouse_spec::AppProtocol;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    body_end::was_reset,
    connection::Connection,
    grant::Grant,
    liveness,
    metrics::Observation,
    pace::{ClientClock, PaceLimit},
    places::UnderWay,
    pool::Pool,
    request_body::Progress,
};
use crate::{defence::Defence, status::chain};

/// A replica's answer on its way to the client. It holds the replica until its last byte, and no
/// longer; dropping it earlier, as when the client goes away, ends the exchange.
pub(super) struct Reply {
    incoming: Incoming,
    /// It comes over HTTP/2.
    is_stream: bool,
    held: Slot,
    /// Its last byte was handed over.
    is_whole: bool,
    deadline: Pin<Box<Sleep>>,
    clock: ClientClock,
    watchdog: Option<Watchdog>,
    /// What the watchdog ended it for, if it did.
    late: Late,
    watched: Option<Watched>,
}

/// Which time ends first while the client is waited for: its own, or the endpoint's.
#[derive(Debug, Clone, Copy)]
enum Late {
    Client,
    Endpoint,
}

struct Watched {
    observation: Observation,
    request_id: HeaderValue,
}

/// An exchange whose answer began.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) grant: Grant,
    pub(super) connection: Connection,
    pub(super) pool: Arc<Pool>,
    pub(super) progress: Arc<Progress>,
}

/// What an answer holds while it streams: the replica, and the client's place.
struct Held {
    exchange: Exchange,
    under_way: UnderWay,
}

/// Empty once the exchange is over.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<Held>>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends an exchange whose client does not take its answer. A body that is not read is not polled, so
/// somebody else has to look at the clock.
struct Watchdog(watch::Sender<Option<Instant>>);

impl Watchdog {
    fn of(slot: &Slot) -> Self {
        let (sender, mut until) = watch::channel(None);
        let slot = slot.clone();
        tokio::spawn(async move {
            loop {
                let asleep: Option<Instant> = *until.borrow_and_update();
                let late = async {
                    match asleep {
                        Some(until) => sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = until.changed() => if changed.is_err() { return },
                    () = late => {
                        let held = slot.lock().take();
                        // The replica did its part.
                        if let Some(Held { exchange, .. }) = held {
                            (exchange.grant.tell_served)();
                        }
                        return;
                    }
                }
            }
        });
        Self(sender)
    }

    fn set(&self, until: Option<Instant>) {
        self.0.send_replace(until);
    }
}

/// Why an answer was cut off. The client sees its connection or stream break.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("the replica ended within its answer: {0}")]
    ReplicaDied(LossCause),
    #[error("the replica broke off within its answer")]
    ReplicaBroke(#[source] hyper::Error),
    #[error("the replica reset its stream within its answer")]
    ReplicaReset,
    #[error("the deadline passed within the answer")]
    Deadline,
    #[error("the client took the answer too slowly")]
    TooSlow,
}

impl Reply {
    pub(super) fn new(
        incoming: Incoming,
        exchange: Exchange,
        under_way: UnderWay,
        deadline: Instant,
        pace: PaceLimit,
    ) -> Self {
        let is_stream = exchange.grant.payload.protocol() == AppProtocol::H2c;
        let held = Held { exchange, under_way };
        let mut reply = Self {
            incoming,
            is_stream,
            held: Slot(Arc::new(Mutex::new(Some(held)))),
            is_whole: false,
            deadline: Box::pin(sleep_until(deadline)),
            clock: ClientClock::new(pace),
            watchdog: None,
            late: Late::Client,
            watched: None,
        };
        // Nobody polls a body that is empty.
        if reply.incoming.is_end_stream() {
            reply.finish();
        } else {
            // A client of HTTP/2 can be in the way of the very first part.
            reply.hand_over(0);
        }
        reply
    }

    /// Watches the answer to its end, which may have been already.
    pub(super) fn watch(&mut self, observation: Observation, request_id: HeaderValue) {
        if !self.is_whole {
            self.watched = Some(Watched { observation, request_id });
        }
    }

    /// All of it was read: the connection may carry another request, the replica is given back.
    fn finish(&mut self) {
        self.is_whole = true;
        let held = self.held.lock().take();
        if let Some(Held { exchange: Exchange { grant, connection, pool, progress }, .. }) = held {
            if progress.is_finished() {
                pool.put(&grant.replica, &grant.address, connection);
            }
            (grant.tell_served)();
        }
        self.watched = None;
    }

    fn poll_cut_off(&mut self, cx: &mut Context<'_>) -> Poll<ReplyError> {
        if let Some(Held { exchange, .. }) = &mut *self.held.lock()
            && let Poll::Ready(cause) = exchange.grant.lost.as_mut().poll(cx)
        {
            exchange.pool.forget(&exchange.grant.replica);
            return Poll::Ready(ReplyError::ReplicaDied(cause));
        }
        self.deadline.as_mut().poll(cx).map(|()| ReplyError::Deadline)
    }

    fn cut_off(&mut self, error: ReplyError) -> ReplyError {
        let held = self.held.lock().take();
        self.is_whole = true;
        if let Some(Held { exchange: Exchange { grant, .. }, .. }) = held
            && matches!(error, ReplyError::Deadline)
        {
            liveness::look(grant);
        }
        if let Some(Watched { observation, request_id }) = self.watched.take() {
            let request_id = request_id.to_str().unwrap_or_default();
            tracing::warn!(request_id, endpoint = observation.endpoint(), error = chain(&error), "answer cut off");
        }
        error
    }

    /// A part of the answer goes to the client, who now has to take it before it is asked for more.
    fn hand_over(&mut self, bytes: usize) {
        self.clock.moved(bytes as u64);
        if !Defence::AnswerPace.stands() {
            return;
        }
        let (used_up, deadline) = (self.clock.wait(), self.deadline.deadline());
        self.late = if used_up < deadline { Late::Client } else { Late::Endpoint };
        self.watchdog.get_or_insert_with(|| Watchdog::of(&self.held)).set(Some(used_up.min(deadline)));
    }

    /// The client took what it was given.
    fn taken(&mut self) {
        self.clock.moved(0);
        if let Some(watchdog) = &self.watchdog {
            watchdog.set(None);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // Over HTTP/2 the end comes behind the last byte, and who was told a length does not wait for it.
        if !self.is_whole && self.incoming.size_hint().exact() == Some(0) {
            self.finish();
        }
        // A client that went away, as from a stream without end, has no complaint.
        if let Some(Held { exchange, .. }) = self.held.lock().take() {
            (exchange.grant.tell_served)();
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = self.get_mut();
        if this.is_whole {
            return Poll::Ready(None);
        }
        if this.held.lock().is_none() {
            let error = match this.late {
                Late::Client => ReplyError::TooSlow,
                Late::Endpoint => ReplyError::Deadline,
            };
            return Poll::Ready(Some(Err(this.cut_off(error))));
        }
        this.taken();
        if let Some(held) = &mut *this.held.lock() {
            held.under_way.passes(Instant::now());
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if this.incoming.is_end_stream() {
                    this.finish();
                } else {
                    this.hand_over(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this.cut_off(ReplyError::ReplicaBroke(error))))),
            Poll::Ready(None) if this.is_stream && was_reset(&this.incoming) => {
                Poll::Ready(Some(Err(this.cut_off(ReplyError::ReplicaReset))))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Pending => match this.poll_cut_off(cx) {
                Poll::Ready(error) => Poll::Ready(Some(Err(this.cut_off(error)))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_whole { SizeHint::with_exact(0) } else { self.incoming.size_hint() }
    }
}
