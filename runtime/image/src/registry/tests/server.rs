mod flushed;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use dormouse_spec::Registry;
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use flushed::{Flushed, Flushes};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    /// How many requests for the same path came before it.
    pub(super) earlier: usize,
    pub(super) body: String,
    headers: hyper::HeaderMap,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }
}

/// What is answered, and how the body ends.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    content: Bytes,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Proper,
    /// The connection breaks behind the content.
    Cut,
    /// Nothing more comes.
    Silence,
    /// The content comes again and again.
    Never,
}

impl Answer {
    pub(super) fn new(status: u16, content: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), content: content.into(), end: End::Proper }
    }

    pub(super) fn ok(content: impl Into<Bytes>) -> Self {
        Self::new(200, content)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn cut(self) -> Self {
        Self { end: End::Cut, ..self }
    }

    pub(super) fn silent(self) -> Self {
        Self { end: End::Silence, ..self }
    }

    pub(super) fn endless(self) -> Self {
        Self { end: End::Never, ..self }
    }
}

/// A registry that answers what its script says, and remembers what it was asked.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), scheme: "http", seen: Arc::default() };
        let (script, seen) = (Arc::new(script), Arc::clone(&server.seen));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(TokioIo::new(connection), Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        server
    }

    pub(super) async fn start_tls(tls: TlsAcceptor, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), scheme: "https", seen: Arc::default() };
        let (script, seen) = (Arc::new(script), Arc::clone(&server.seen));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // Whoever does not trust the server ends the handshake.
                let Ok(connection) = tls.accept(connection).await else { continue };
                tokio::spawn(serve(TokioIo::new(connection), Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        server
    }

    pub(super) fn registry(&self) -> Registry {
        self.address.to_string().parse().unwrap()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }
}

/// Answers what comes over one connection.
pub(super) async fn serve<C, S>(connection: C, script: Arc<S>, seen: Arc<Mutex<Vec<Seen>>>)
where
    C: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: Fn(&Seen) -> Answer,
{
    let flushes = Flushes::default();
    let service = service_fn(|request| answer(request, &*script, &seen, &flushes));
    let connection = Flushed { connection, flushes: Arc::clone(&flushes) };
    // A connection that is cut on purpose ends with an error.
    let _ = http1::Builder::new().serve_connection(connection, service).await;
}

async fn answer<S: Fn(&Seen) -> Answer>(
    request: Request<Incoming>,
    script: &S,
    seen: &Mutex<Vec<Seen>>,
    flushes: &Flushes,
) -> Result<Response<Script>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path_and_query().unwrap().to_string();
    let now = {
        let mut seen = seen.lock().unwrap();
        let earlier = seen.iter().filter(|earlier| earlier.path == path).count();
        let body = String::from_utf8(body.into()).unwrap();
        seen.push(Seen { method: head.method.to_string(), path, earlier, body, headers: head.headers });
        seen.last().unwrap().clone()
    };
    let answer = script(&now);
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = Script { content: answer.content, end: answer.end, sent_at: None, flushes: Arc::clone(flushes) };
    Ok(response.body(body).unwrap())
}

struct Script {
    content: Bytes,
    end: End,
    /// The number of flushes when the content was sent.
    sent_at: Option<usize>,
    flushes: Flushes,
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let flushes = self.flushes.load(Ordering::Relaxed);
        match (self.sent_at, self.end) {
            (None, _) | (_, End::Never) => {
                self.sent_at = Some(flushes);
                Poll::Ready(Some(Ok(Frame::data(self.content.clone()))))
            }
            (Some(_), End::Proper) => Poll::Ready(None),
            (Some(_), End::Silence) => Poll::Pending,
            (Some(sent_at), End::Cut) if flushes > sent_at => Poll::Ready(Some(Err(io::Error::other("cut")))),
            (Some(_), End::Cut) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
