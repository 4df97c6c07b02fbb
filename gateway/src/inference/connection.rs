//! One connection to a replica, of whichever version of HTTP its server speaks. It carries one request at a time.

mod h2c;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dormouse_controller::Stream;
use dormouse_spec::AppProtocol;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::{replica_stream::ReplicaStream, request_body::RequestBody};

/// A replica is not trusted: the head of its answer has a limit like that of a client's request.
const REPLY_HEAD_BYTES_MAX: usize = 64 << 10;
/// How long what is said last over HTTP/2, that nobody waits for an answer above all, may take to be written.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Closed when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    _driver: Driver,
    /// A request was sent on it.
    is_used: bool,
    /// The replica said something since the last one was.
    heard: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    H2c(http2::SendRequest<RequestBody>),
}

/// What moves its bytes, until this is dropped: also where a request is under way, whose replica then learns that nobody
/// waits for it.
#[derive(Debug)]
enum Driver {
    Http1(AbortHandle),
    H2c(#[expect(dead_code, reason = "its end is what it is kept for")] h2c::Driver),
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Self::Http1(task) = self {
            task.abort();
        }
    }
}

impl Connection {
    /// `closed` is called once the other side has closed it.
    pub(super) async fn begin(
        stream: Stream,
        protocol: AppProtocol,
        closed: impl FnOnce() + Send + 'static,
    ) -> hyper::Result<Self> {
        let stream = ReplicaStream::new(stream);
        let heard = stream.heard();
        let stream = TokioIo::new(stream);
        if protocol == AppProtocol::H2c {
            let (sender, driver) = h2c::begin(stream, closed).await?;
            return Ok(Self { sender: Sender::H2c(sender), _driver: Driver::H2c(driver), is_used: false, heard });
        }
        let (sender, connection) = http1::Builder::new().max_buf_size(REPLY_HEAD_BYTES_MAX).handshake(stream).await?;
        let driver = tokio::spawn(async move {
            // Its error is also that of the request under way, which tells it.
            let _ = connection.with_upgrades().await;
            closed();
        });
        let driver = Driver::Http1(driver.abort_handle());
        Ok(Self { sender: Sender::Http1(sender), _driver: driver, is_used: false, heard })
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::H2c(sender) => sender.is_closed(),
        }
    }

    /// Whether an exchange can break off and leave it as it was.
    pub(super) fn outlives_its_exchanges(&self) -> bool {
        matches!(self.sender, Sender::H2c(_)) && !self.is_closed()
    }

    /// Whether it carried a request before: then its replica may be closing it at any time.
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Whether its replica closed it and had nothing to say to the last request.
    pub(super) fn was_closed_unanswered(&self) -> bool {
        match self.sender {
            Sender::Http1(_) => !self.heard.load(Ordering::Acquire),
            Sender::H2c(_) => self.is_closed(),
        }
    }

    /// Waits until it can carry a request.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await,
            Sender::H2c(sender) => sender.ready().await,
        }
    }

    /// # Errors
    /// With the request where nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.is_used = true;
        self.heard.store(false, Ordering::Release);
        match &mut self.sender {
            Sender::Http1(sender) => {
                h2c::take_back(&mut request);
                sender.try_send_request(request).await
            }
            Sender::H2c(sender) => {
                h2c::put(&mut request);
                sender.try_send_request(request).await
            }
        }
    }
}
