//! Whether a replica that did not answer in time still answers anything.
//!
//! A slow model is the business of whoever set the timeout. But a replica that stands still, or
//! accepts nothing any more, would let every later request of its endpoint run into its deadline.
//!
//! A process of an image is not asked. One that serves a request at a time, as many do, says nothing
//! while it works and is well; and that the kernel takes a connection for it proves as little.

use std::{io, time::Duration};

use bytes::Bytes;
use dormouse_controller::Address;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{grant::Grant, replica_stream::ReplicaStream};

/// Answering this takes a worker no inference, only a turn of its loop, however busy its processors.
const QUESTION: &str = "/v2/health/live";
/// Far beyond a turn of the loop of a replica that has the least processor time there is.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Looks beside whatever goes on. The replica keeps the place of the request meanwhile, since it may
/// still be at work on it.
pub(super) fn look(mut grant: Grant) {
    if grant.payload.is_image() {
        return;
    }
    tokio::spawn(async move {
        let silent = tokio::select! {
            // Its death is told with a better cause.
            _ = &mut grant.lost => false,
            answer = timeout(ANSWER_WAIT, ask(&grant.address)) => answer.is_err(),
        };
        if silent {
            (grant.tell_silent)();
        }
    });
}

/// Any answer at all is one, and so is a connection that the replica itself breaks.
async fn ask(address: &Address) -> io::Result<()> {
    let stream = match address.connect().await {
        // So many wait to be accepted that the kernel queues no more.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return std::future::pending().await,
        stream => stream?,
    };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(ReplicaStream::new(stream))).await.map_err(io::Error::other)?;
    let request = Request::get(QUESTION).header("host", "replica").body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    tokio::select! {
        answer = sender.send_request(request) => answer.map(drop),
        ended = connection => ended,
    }
    .map_err(io::Error::other)
}
