use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Gateway, preface::Prefaced};
use crate::{
    accept::{Shortage, connections_within_limit},
    config::GatewaySettings,
};

/// A silent HTTP/2 connection is asked whether it lives, and ended where it does not say so.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Accepts and answers until `ended` resolves, then takes no more and finishes what runs, for
/// `drain_deadline` at most. The listener stays bound: it belongs to the daemon.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    ended: impl Future<Output = ()>,
    drain_deadline: Duration,
) {
    let server = protocols(&gateway.settings);
    let permits = Arc::new(Semaphore::new(connections_within_limit(gateway.settings.connections_max)));
    let mut shortage = Shortage::new("clients");
    let connections = GracefulShutdown::new();
    tokio::pin!(ended);
    loop {
        let (stream, client, permit) = tokio::select! {
            () = &mut ended => break,
            accepted = accept(&listener, &permits, &mut shortage) => accepted,
        };
        let watcher = Some(connections.watcher());
        tokio::spawn(connection(Arc::clone(&gateway), server.clone(), stream, client, watcher, permit));
    }
    let finished = timeout(drain_deadline, connections.shutdown());
    tokio::pin!(finished);
    loop {
        // Whoever comes now is told that the daemon drains, and is not waited for.
        let (stream, client, permit) = tokio::select! {
            finished = &mut finished => {
                if finished.is_err() {
                    tracing::warn!(?drain_deadline, "requests that still ran when the deadline passed were cut off");
                }
                return;
            }
            accepted = accept(&listener, &permits, &mut shortage) => accepted,
        };
        tokio::spawn(connection(Arc::clone(&gateway), server.clone(), stream, client, None, permit));
    }
}

fn protocols(settings: &GatewaySettings) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout)
        .max_buf_size(settings.head_bytes_max as usize);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(settings.head_bytes_max)
        .max_concurrent_streams(settings.streams_per_connection_max)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    server
}

/// The next connection, once there may be one more.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    shortage: &mut Shortage,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client, permit),
            Err(error) => shortage.failed(&error).await,
        }
    }
}

async fn connection(
    gateway: Arc<Gateway>,
    server: Builder<TokioExecutor>,
    stream: TcpStream,
    client: SocketAddr,
    watcher: Option<Watcher>,
    permit: OwnedSemaphorePermit,
) {
    // An answer is written at once: it never waits to be joined by another.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%client, %error, "a connection ended before it was served");
        return;
    }
    let stream = TokioIo::new(Prefaced::new(stream, gateway.settings.head_timeout));
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { gateway.handle(request, client.ip()).await }
    });
    let served = server.serve_connection(stream, service).into_owned();
    let ended = match watcher {
        Some(watcher) => watcher.watch(served).await,
        None => served.await,
    };
    if let Err(error) = ended {
        tracing::debug!(%client, error = crate::status::chain(error.as_ref()), "a connection broke");
    }
    drop(permit);
}
