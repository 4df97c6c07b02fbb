//! A server that speaks HTTP/2 without TLS and nothing else, as the process of an image: gRPC by hand.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{CONTENT_TYPE, TE},
};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::mpsc};

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";
/// Frames of one answer that wait to be sent.
const FRAMES_MAX: usize = 16;

/// An answer, part by part.
struct Frames(mpsc::Receiver<io::Result<Frame<Bytes>>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context)
    }
}

fn main() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    println!("h2c on {port}");
    let is_well = Arc::new(AtomicBool::new(true));
    loop {
        let (stream, _) = listener.accept().await?;
        let is_well = Arc::clone(&is_well);
        let service = service_fn(move |request| {
            let answered = answer(request, Arc::clone(&is_well));
            async move { Ok::<_, Infallible>(answered.await) }
        });
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>, is_well: Arc<AtomicBool>) -> Response<Frames> {
    let data = |bytes: &'static [u8]| Ok(Frame::data(Bytes::from_static(bytes)));
    match request.uri().path() {
        "/grpc.health.v1.Health/Check" => {
            let told = if is_well.load(Ordering::SeqCst) { SERVING } else { NOT_SERVING };
            of([data(told), Ok(Frame::trailers(trailers()))]).await
        }
        "/ill" => {
            is_well.store(false, Ordering::SeqCst);
            of([data(b"ill")]).await
        }
        "/seen" => {
            let te = request.headers().get(TE).map_or("none", |te| te.to_str().unwrap_or("bytes"));
            let authority = request.uri().authority().map_or("none", |authority| authority.as_str());
            let seen = format!("{:?} te={te} authority={authority}", request.version());
            of([Ok(Frame::data(Bytes::from(seen)))]).await
        }
        "/hang" => std::future::pending().await,
        // The stream breaks once its answer has begun.
        "/reset" => of([data(b"begun"), Err(io::Error::other("reset"))]).await,
        _ => echo(request),
    }
}

async fn of<const COUNT: usize>(frames: [io::Result<Frame<Bytes>>; COUNT]) -> Response<Frames> {
    let (sender, receiver) = mpsc::channel(COUNT);
    for frame in frames {
        let _ = sender.send(frame).await;
    }
    Response::new(Frames(receiver))
}

/// Each part of the body as it comes, and at last that all went well.
fn echo(request: Request<Incoming>) -> Response<Frames> {
    let (sender, receiver) = mpsc::channel(FRAMES_MAX);
    let mut body = request.into_body();
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            if let Err(error) = &frame {
                println!("a stream ended: {error:?}");
            }
            let is_broken = frame.is_err();
            if sender.send(frame.map_err(io::Error::other)).await.is_err() || is_broken {
                return;
            }
        }
        let _ = sender.send(Ok(Frame::trailers(trailers()))).await;
    });
    let mut response = Response::new(Frames(receiver));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}
