//! The HTTP server: HTTP/1.1 on one listener, until SIGTERM or SIGINT.

mod handler;

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::Assignment;
use crate::inference::{Inference, Job};
use crate::v2::Signature;
use handler::Handler;

/// Most connections open at once. The gateway needs one for each request in flight.
const CONNECTIONS_MAX: usize = 256;

/// Largest request line and headers, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Most a connection reads ahead, in bytes. Larger than a head, so that bodies arrive in large pieces.
const READ_BUFFER_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX;

/// How long a request's head may take, which is also how long a connection may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause after a failed accept, which is a shortage that an immediate retry would only meet again.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a worker accepts connections from.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the I/O runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the listener cannot be used")]
    Listener(#[source] io::Error),
    #[error("the signal handlers cannot be installed")]
    Signal(#[source] io::Error),
    #[error("the descriptions of the model cannot be written")]
    Describe(#[source] serde_json::Error),
    #[error("the inference thread ended in a panic")]
    Inference,
    #[error("readiness cannot be reported")]
    Ready(#[source] Box<dyn Error>),
}

/// What connections are served on.
pub(crate) fn runtime() -> Result<Runtime, ServeError> {
    Builder::new_current_thread().enable_io().enable_time().build().map_err(ServeError::Runtime)
}

/// Serves until told to stop, then finishes what is in flight. Calls `ready` once connections are being accepted.
pub(crate) fn serve(
    runtime: &Runtime,
    listener: Listener,
    inference: Inference,
    assignment: &Assignment,
    ready: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<(), ServeError> {
    let Inference { signature, jobs, thread, .. } = inference;
    let served = serve_jobs(runtime, listener, &signature, jobs, assignment, ready);
    // Whatever happened above, nobody can send jobs any more.
    thread.join().map_err(|_| ServeError::Inference).and(served)
}

fn serve_jobs(
    runtime: &Runtime,
    listener: Listener,
    signature: &Signature,
    jobs: mpsc::Sender<Job>,
    assignment: &Assignment,
    ready: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<(), ServeError> {
    let handler = Arc::new(Handler::new(signature, jobs, assignment).map_err(ServeError::Describe)?);
    runtime.block_on(async {
        let acceptor = Acceptor::new(listener).map_err(ServeError::Listener)?;
        let stop = StopSignals::install().map_err(ServeError::Signal)?;
        ready().map_err(ServeError::Ready)?;
        accept_until(stop, &acceptor, &handler).await;
        Ok(())
    })
}

enum Acceptor {
    Unix(tokio::net::UnixListener),
    Tcp(tokio::net::TcpListener),
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(listener).map(Self::Unix)
            }
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener).map(Self::Tcp)
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Handlers are needed even to die: pid 1 of a container ignores signals it does not handle.
    fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn accept_until(mut stop: StopSignals, acceptor: &Acceptor, handler: &Arc<Handler>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            // The semaphore is never closed; if it were, there would be no place and nothing to accept.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((acceptor.accept().await?, place))
        };
        tokio::select! {
            () = stop.received() => break,
            accepted = accepted => match accepted {
                Ok((Stream::Unix(stream), place)) => spawn(stream, place, handler, &graceful),
                Ok((Stream::Tcp(stream), place)) => spawn(stream, place, handler, &graceful),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    graceful.shutdown().await;
}

fn spawn(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    place: OwnedSemaphorePermit,
    handler: &Arc<Handler>,
    graceful: &GracefulShutdown,
) {
    let handler = Arc::clone(handler);
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, std::convert::Infallible>(handler.handle(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // A connection that breaks has told its peer; there is nothing to do about it here.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(place);
    });
}
