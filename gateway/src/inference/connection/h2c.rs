//! HTTP/2 by prior knowledge to an image that speaks it.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use http::{
    HeaderValue, Request, Uri, Version,
    header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE},
    uri::{Authority, Scheme},
};
use hyper::{
    client::conn::http2::{self, SendRequest},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};

use super::{FAREWELL, REPLY_HEAD_BYTES_MAX};
use crate::inference::{replica_stream::ReplicaStream, request_body::RequestBody};

/// What a replica may send ahead of its client, who may be slow: of one answer, and of what is not asked for.
const WINDOW_BYTES: u32 = 256 << 10;
/// What is kept of a request that a replica does not take.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Ends what works for the connection when it is dropped, after it has said farewell.
pub(super) type Driver = oneshot::Sender<()>;

/// Everything that works for one connection, so that nothing outlives it: a replica that reads nothing would keep it.
#[derive(Debug, Clone)]
struct Tasks {
    handles: Handles,
    /// One for each that is at work, never sent on.
    working: mpsc::Sender<()>,
}

type Handles = Arc<Mutex<Vec<AbortHandle>>>;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let working = self.working.clone();
        let task = tokio::spawn(async move {
            future.await;
            drop(working);
        });
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|task| !task.is_finished());
        handles.push(task.abort_handle());
    }
}

pub(super) async fn begin(
    stream: TokioIo<ReplicaStream>,
    closed: impl FnOnce() + Send + 'static,
) -> hyper::Result<(SendRequest<RequestBody>, Driver)> {
    let handles = Handles::default();
    let (working, mut all_done) = mpsc::channel(1);
    let mut builder = http2::Builder::new(Tasks { handles: Arc::clone(&handles), working });
    builder
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_header_list_size(u32::try_from(REPLY_HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    let (sender, connection) = builder.handshake(stream).await?;
    drop(builder);
    let (driver, mut dropped) = oneshot::channel();
    tokio::spawn(async move {
        // It ends when it takes no more requests. Its error is also that of the request under way, which may go on.
        let is_dropped = tokio::select! {
            _ = connection => false,
            _ = &mut dropped => true,
        };
        closed();
        if !is_dropped {
            tokio::select! {
                _ = all_done.recv() => {}
                _ = dropped => {}
            }
        }
        let _ = timeout(FAREWELL, all_done.recv()).await;
        handles.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    });
    Ok((sender, driver))
}

/// Makes a request of HTTP/1.1 one of HTTP/2: what it says of the connection goes, the host becomes its authority.
/// A host that is none stays a header.
pub(super) fn put(request: &mut Request<RequestBody>) {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        request.headers_mut().remove(name);
    }
    let host = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = host;
    // An error where there is no authority.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(HOST);
    }
}

/// The other way round, where one that was not sent goes to another replica at last.
pub(super) fn take_back(request: &mut Request<RequestBody>) {
    if request.version() != Version::HTTP_2 {
        return;
    }
    *request.version_mut() = Version::HTTP_11;
    let uri = request.uri().clone();
    if !request.headers().contains_key(HOST)
        && let Some(host) = uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = uri.path_and_query().cloned().map_or(uri, Into::into);
}
