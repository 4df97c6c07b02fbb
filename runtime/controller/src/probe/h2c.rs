//! One request over HTTP/2 without TLS.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Asked, ProbeFailure};

/// Of the head and of the trailers of an answer.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// What may come ahead of being read.
const WINDOW_BYTES: u32 = 64 << 10;

/// `read` has the answer while the connection lives.
pub(super) async fn exchange(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
    asked: &Asked,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<(), ProbeFailure>,
) -> Result<(), ProbeFailure> {
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .max_header_list_size(HEADERS_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let (mut sender, connection) =
        client.handshake(TokioIo::new(stream)).await.map_err(|source| asked.failed(source))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|source| asked.failed(source))?;
        read(response).await
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // Its error is also that of the request.
        _ = connection => answer.await,
    }
}
