use std::{
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

/// How long the rest of a body is read and thrown away after it was answered early. A client that
/// still sends when its connection is closed gets a reset, and never sees the answer.
const LINGER: Duration = Duration::from_secs(30);

/// A client's body on its way to a replica: counted, and read to its end where nobody else does.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    bytes_left: u64,
    progress: Arc<Progress>,
    linger: Linger,
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
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBodyError {
    #[error("the body is over the limit")]
    OverLimit,
    #[error("reading the client's body failed")]
    Client(#[source] hyper::Error),
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
}

impl RequestBody {
    pub(super) fn of(request: Request<Incoming>, bytes_max: u64) -> Request<Self> {
        let linger = linger(request.version(), request.headers());
        request.map(|incoming| {
            let progress = Progress { finished: incoming.is_end_stream().into(), ..Progress::default() };
            Self { incoming: Some(incoming), bytes_left: bytes_max, progress: Arc::new(progress), linger }
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
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        if this.linger == Linger::OnceRead {
            this.linger = Linger::Always;
        }
        let frame = std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx));
        if frame.is_none() || incoming.is_end_stream() {
            this.progress.finished.store(true, Ordering::Release);
        }
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => {
                this.progress.broken.store(true, Ordering::Release);
                Some(Err(RequestBodyError::Client(error)))
            }
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match this.bytes_left.checked_sub(bytes) {
                    Some(left) => {
                        this.bytes_left = left;
                        Some(Ok(frame))
                    }
                    None => {
                        this.progress.over_limit.store(true, Ordering::Release);
                        Some(Err(RequestBodyError::OverLimit))
                    }
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if self.linger != Linger::Always || self.progress.is_finished() || self.progress.is_broken() {
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
