//! A GET that is answered with a status from 200 to 399.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Asked, ProbeFailure, USER_AGENT};

pub(super) async fn get(
    stream: TcpStream,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), ProbeFailure> {
    let asked = Asked { port, what: format!("GET {path}") };
    let mut request = Request::get(path);
    let says = |name: &str| headers.iter().any(|(said, _)| said.eq_ignore_ascii_case(name));
    if !says(header::HOST.as_str()) {
        request = request.header(header::HOST, format!("127.0.0.1:{port}"));
    }
    if !says(header::USER_AGENT.as_str()) {
        request = request.header(header::USER_AGENT, USER_AGENT);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(|source| asked.impossible(source))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|source| asked.failed(source))?;
    tokio::pin!(connection);
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // Its error is also that of the request.
        _ = &mut connection => answer.await,
    };
    let status = answer.map_err(|source| asked.failed(source))?.status();
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(asked.status(status)) }
}
