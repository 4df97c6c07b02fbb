use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    Gateway,
    client_stream::ClientStream,
    places::{Place, Places},
    service::Answer,
};
use crate::{
    accept::{Shortage, connections_within_limit},
    config::GatewaySettings,
};

/// A silent HTTP/2 connection is asked whether it lives, and ended where it does not say so.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What a client may send ahead of its being read, on one connection and on one stream of it.
const HTTP2_WINDOW_BYTES: u32 = 256 << 10;
/// What is kept for a stream whose client takes its answer more slowly than it comes.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 << 10;

/// Accepts and answers until `ended` resolves, then takes no more and finishes what runs, for
/// `drain_deadline` at most. The listener stays bound: it belongs to the daemon.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    ended: impl Future<Output = ()>,
    drain_deadline: Duration,
) {
    let settings = gateway.settings.clone();
    let server = protocols(&settings);
    let places = Places::new(connections_within_limit(settings.connections_max));
    let answer = move |request, client, place: Arc<Place>| {
        let gateway = Arc::clone(&gateway);
        async move { gateway.handle(request, client, &place).await }
    };
    let mut entrance = Entrance { listener, shortage: Shortage::new("clients"), places, arrived: None };
    let connections = GracefulShutdown::new();
    tokio::pin!(ended);
    loop {
        let arrived = tokio::select! {
            () = &mut ended => break,
            entered = entrance.next() => entered,
        };
        let watcher = Some(connections.watcher());
        tokio::spawn(connection(settings.clone(), server.clone(), arrived, watcher, answer.clone()));
    }
    let finished = timeout(drain_deadline, connections.shutdown());
    tokio::pin!(finished);
    loop {
        // Whoever comes now is told that the daemon drains, and is not waited for.
        let arrived = tokio::select! {
            finished = &mut finished => {
                if finished.is_err() {
                    tracing::warn!(?drain_deadline, "requests that still ran when the deadline passed were cut off");
                }
                return;
            }
            entered = entrance.next() => entered,
        };
        tokio::spawn(connection(settings.clone(), server.clone(), arrived, None, answer.clone()));
    }
}

pub(super) fn protocols(settings: &GatewaySettings) -> Builder<TokioExecutor> {
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
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    #[cfg(weakened)]
    crate::defence::weakened::protocols(&mut server);
    server
}

/// A connection that came in.
pub(super) struct Arrived {
    pub(super) stream: TcpStream,
    pub(super) client: SocketAddr,
    pub(super) place: Place,
}

/// Where connections come in.
struct Entrance {
    listener: TcpListener,
    shortage: Shortage,
    places: Places,
    /// It was accepted, and has no place yet.
    arrived: Option<(TcpStream, SocketAddr)>,
}

impl Entrance {
    /// The next connection with its place. Nobody is lost where this is dropped before its end.
    async fn next(&mut self) -> Arrived {
        loop {
            if self.arrived.is_none() {
                self.arrived = Some(accept(&self.listener, &mut self.shortage).await);
            }
            let place = self.places.take().await;
            if let Some((stream, client)) = self.arrived.take() {
                return Arrived { stream, client, place };
            }
        }
    }
}

async fn accept(listener: &TcpListener, shortage: &mut Shortage) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => shortage.failed(&error).await,
        }
    }
}

/// Answers what comes on one connection, until it ends or becomes something else than HTTP.
pub(super) async fn connection<A>(
    settings: GatewaySettings,
    server: Builder<TokioExecutor>,
    arrived: Arrived,
    watcher: Option<Watcher>,
    answer: impl Fn(Request<Incoming>, IpAddr, Arc<Place>) -> A,
) where
    A: Future<Output = Result<Answer, Infallible>> + Send + 'static,
{
    let Arrived { stream, client, place } = arrived;
    // An answer is written at once: it never waits to be joined by another.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%client, %error, "a connection ended before it was served");
        return;
    }
    let GatewaySettings { head_timeout, client_wait, .. } = settings;
    let stream = TokioIo::new(ClientStream::new(stream, head_timeout, client_wait));
    let place = Arc::new(place);
    let service = service_fn({
        let place = Arc::clone(&place);
        move |request| answer(request, client.ip(), Arc::clone(&place))
    });
    let served = server.serve_connection_with_upgrades(stream, service).into_owned();
    let served = async {
        match watcher {
            Some(watcher) => watcher.watch(served).await,
            None => served.await,
        }
    };
    tokio::select! {
        ended = served => {
            if let Err(error) = ended {
                tracing::debug!(%client, error = crate::status::chain(error.as_ref()), "a connection broke");
            }
        }
        () = place.called_back() => tracing::debug!(%client, "a connection gave its place to another"),
        () = place.idle(head_timeout) => tracing::debug!(%client, "a connection was idle for too long"),
    }
}
