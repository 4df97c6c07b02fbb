use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::CommandError;
use crate::admin::api::ErrorBody;

/// More than this is not for a terminal, nor for a pipe that waits for the whole of it.
const ANSWER_BYTES_MAX: usize = 1 << 30;

type CallError = Box<dyn std::error::Error + Send + Sync>;

/// Sends one request to the daemon and returns the body of its answer.
pub(super) async fn call(
    listen: SocketAddr,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Bytes, CommandError> {
    let (status, answer) = exchange(listen, method, path, headers, body)
        .await
        .map_err(|source| CommandError::Call { url: format!("http://{listen}{path}"), source })?;
    if status.is_success() {
        return Ok(answer);
    }
    let message = serde_json::from_slice(&answer)
        .map_or_else(|_| String::from_utf8_lossy(&answer).into_owned(), |body: ErrorBody| body.error);
    Err(CommandError::Answer { status, message })
}

async fn exchange(
    listen: SocketAddr,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), CallError> {
    let stream = TcpStream::connect(listen).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the connection; what breaks it is told by the request too.
    tokio::spawn(connection);
    let mut request = Request::new(Full::<Bytes>::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse()?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(HOST, HeaderValue::try_from(listen.to_string())?);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?;
    Ok((status, answer.to_bytes()))
}
