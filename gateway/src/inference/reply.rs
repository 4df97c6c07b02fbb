use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use dormouse_sandbox::messages::ExitCause;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    grant::Grant,
    liveness,
    metrics::Observation,
    pool::{Connection, Pool},
    request_body::Progress,
};
use crate::status::chain;

/// A replica's answer on its way to the client. It holds the replica until its last byte, and no
/// longer; dropping it earlier, as when the client goes away, ends the exchange.
pub(super) struct Reply {
    incoming: Incoming,
    exchange: Option<Exchange>,
    deadline: Pin<Box<Sleep>>,
    watched: Option<Watched>,
}

struct Watched {
    observation: Observation,
    request_id: HeaderValue,
}

struct Exchange {
    grant: Grant,
    connection: Connection,
    pool: Arc<Pool>,
    progress: Arc<Progress>,
}

/// Why an answer was cut off. The client sees its connection or stream break.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("the replica ended within its answer: {0}")]
    ReplicaDied(ExitCause),
    #[error("the replica broke off within its answer")]
    ReplicaBroke(#[source] hyper::Error),
    #[error("the deadline passed within the answer")]
    Deadline,
}

impl Reply {
    pub(super) fn new(
        incoming: Incoming,
        grant: Grant,
        connection: Connection,
        pool: Arc<Pool>,
        progress: Arc<Progress>,
        deadline: Instant,
    ) -> Self {
        let exchange = Some(Exchange { grant, connection, pool, progress });
        let mut reply = Self { incoming, exchange, deadline: Box::pin(sleep_until(deadline)), watched: None };
        // Nobody polls a body that is empty.
        if reply.incoming.is_end_stream() {
            reply.finish();
        }
        reply
    }

    /// Watches the answer to its end, which may have been already.
    pub(super) fn watch(&mut self, observation: Observation, request_id: HeaderValue) {
        if self.exchange.is_some() {
            self.watched = Some(Watched { observation, request_id });
        }
    }

    /// All of it was read: the connection may carry another request, the replica is given back.
    fn finish(&mut self) {
        if let Some(Exchange { grant, connection, pool, progress }) = self.exchange.take()
            && progress.is_finished()
        {
            pool.put(&grant.socket, connection);
        }
        self.watched = None;
    }

    fn poll_cut_off(&mut self, cx: &mut Context<'_>) -> Poll<ReplyError> {
        if let Some(exchange) = &mut self.exchange
            && let Poll::Ready(cause) = exchange.grant.lost.as_mut().poll(cx)
        {
            exchange.pool.forget(&exchange.grant.socket);
            return Poll::Ready(ReplyError::ReplicaDied(cause));
        }
        self.deadline.as_mut().poll(cx).map(|()| ReplyError::Deadline)
    }

    fn cut_off(&mut self, error: ReplyError) -> ReplyError {
        if let Some(Exchange { grant, .. }) = self.exchange.take()
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
}

impl Body for Reply {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = self.get_mut();
        if this.exchange.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this.cut_off(ReplyError::ReplicaBroke(error))))),
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
        self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.exchange.is_none() { SizeHint::with_exact(0) } else { self.incoming.size_hint() }
    }
}
