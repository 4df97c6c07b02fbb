use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Version, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    ahead::Ahead,
    body_end::was_reset,
    pace::{ClientClock, PaceLimit},
};
use crate::defence::Defence;

/// How long the rest of a body is read and thrown away after it was answered early. A client that
/// still sends when its connection is closed gets a reset, and never sees the answer.
const LINGER: Duration = Duration::from_secs(30);

/// A client's body on its way to a replica: counted, and read to its end where nobody else does.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` where its end was read.
    incoming: Option<Incoming>,
    /// What came of it and was not passed on yet.
    ahead: Ahead,
    bytes_left: u64,
    /// None where it is not known that the client is who is waited for.
    clock: Option<ClientClock>,
    progress: Arc<Progress>,
    linger: Linger,
    /// It comes over HTTP/2.
    is_stream: bool,
}

/// Whether a client may be sending a body that nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linger {
    /// HTTP/2: one stream ends without the others.
    Never,
    /// It waits to be told that its body is wanted, and is when the body is first read.
    OnceRead,
    Always,
}

/// What became of a body, for those who do not hold it any more.
#[derive(Debug, Default)]
pub(super) struct Progress {
    over_limit: AtomicBool,
    finished: AtomicBool,
    broken: AtomicBool,
    too_slow: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBodyError {
    #[error("the body is over the limit")]
    OverLimit,
    #[error("the body came too slowly")]
    TooSlow,
    #[error("reading the client's body failed")]
    Client(#[source] hyper::Error),
    #[error("the client reset its stream within the body")]
    Reset,
}

impl Progress {
    pub(super) fn is_over_limit(&self) -> bool {
        self.over_limit.load(Ordering::Acquire)
    }

    /// Every byte of it was passed on.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// The client did not send all of it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// The client was not waited for any longer.
    pub(super) fn is_too_slow(&self) -> bool {
        self.too_slow.load(Ordering::Acquire)
    }
}

impl RequestBody {
    pub(super) fn of(request: Request<Incoming>, bytes_max: u64, pace: PaceLimit) -> Request<Self> {
        let linger = linger(request.version(), request.headers());
        let is_stream = request.version() == Version::HTTP_2;
        request.map(|incoming| {
            let progress = Progress { finished: incoming.is_end_stream().into(), ..Progress::default() };
            Self {
                incoming: Some(incoming),
                ahead: Ahead::default(),
                bytes_left: bytes_max,
                clock: Some(ClientClock::new(pace)),
                progress: Arc::new(progress),
                linger,
                is_stream,
            }
        })
    }

    /// One that is as empty as this one, for who sends its request once more.
    pub(super) fn empty_again(&self) -> Option<Self> {
        self.is_end_stream().then(|| {
            self.progress.finished.store(true, Ordering::Release);
            Self {
                incoming: None,
                ahead: Ahead::default(),
                bytes_left: 0,
                clock: None,
                progress: self.progress(),
                linger: Linger::Never,
                is_stream: false,
            }
        })
    }

    /// From now on its client may take its time.
    pub(super) fn has_no_pace(&mut self) {
        self.clock = None;
    }

    /// Reads until all of it is here, or so many bytes: for as long as its client keeps its pace, and its request has
    /// time.
    pub(super) async fn read_ahead(&mut self, bytes: usize, deadline: Instant) -> Result<(), RequestBodyError> {
        let read = timeout_at(deadline, self.read_so_much_ahead(bytes)).await;
        read.unwrap_or_else(|_| {
            self.progress.too_slow.store(true, Ordering::Release);
            Err(RequestBodyError::TooSlow)
        })
    }

    async fn read_so_much_ahead(&mut self, bytes: usize) -> Result<(), RequestBodyError> {
        while self.ahead.bytes() < bytes && self.incoming.as_ref().is_some_and(|incoming| !incoming.is_end_stream()) {
            let Some(frame) = poll_fn(|cx| self.poll_incoming(cx)).await else { break };
            self.ahead.push(frame?);
        }
        Ok(())
    }

    /// What the client sends next, and whether it may still.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        if self.linger == Linger::OnceRead {
            self.linger = Linger::Always;
        }
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            if Defence::BodyPace.stands()
                && let Some(clock) = &mut self.clock
                && clock.poll_used_up(cx).is_ready()
            {
                self.progress.too_slow.store(true, Ordering::Release);
                return Poll::Ready(Some(Err(RequestBodyError::TooSlow)));
            }
            return Poll::Pending;
        };
        Poll::Ready(match frame {
            None if self.is_stream && was_reset(incoming) => {
                self.progress.broken.store(true, Ordering::Release);
                Some(Err(RequestBodyError::Reset))
            }
            None => {
                self.incoming = None;
                None
            }
            Some(Err(error)) => {
                self.progress.broken.store(true, Ordering::Release);
                Some(Err(RequestBodyError::Client(error)))
            }
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(clock) = &mut self.clock {
                    clock.moved(bytes);
                }
                match self.bytes_left.checked_sub(bytes) {
                    Some(left) => {
                        self.bytes_left = left;
                        Some(Ok(frame))
                    }
                    None => {
                        self.progress.over_limit.store(true, Ordering::Release);
                        Some(Err(RequestBodyError::OverLimit))
                    }
                }
            }
        })
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Whether its declared length alone is over the limit.
    pub(super) fn is_declared_too_large(&self) -> bool {
        self.size_hint().lower() > self.bytes_left
    }
}

fn linger(version: Version, headers: &HeaderMap) -> Linger {
    match version {
        Version::HTTP_2 => Linger::Never,
        _ if headers.contains_key(EXPECT) => Linger::OnceRead,
        _ => Linger::Always,
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = match this.ahead.pop() {
            Some(frame) => Some(Ok(frame)),
            None => std::task::ready!(this.poll_incoming(cx)),
        };
        if frame.is_none() || this.is_end_stream() {
            this.progress.finished.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.bytes() as u64;
        let rest = match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            // Trailers need a body in chunks, which has no length.
            None if self.ahead.has_trailers() => SizeHint::default(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(ahead));
        }
        hint
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let progress = &self.progress;
        let is_over =
            incoming.is_end_stream() || progress.is_finished() || progress.is_broken() || progress.is_too_slow();
        if self.linger != Linger::Always || is_over {
            return;
        }
        // Without a runtime the process is ending, and the connection with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, throw_away(incoming)));
        }
    }
}

async fn throw_away(mut incoming: Incoming) {
    while let Some(Ok(_)) = incoming.frame().await {}
}

#[cfg(test)]
mod tests;
