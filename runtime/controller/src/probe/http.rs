//! A GET that is answered with a status from 200 to 399.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header,
    http::{self, request::Builder},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Asked, ProbeFailure, USER_AGENT, h2c};

type Headers = [(String, String)];

pub(super) async fn get(stream: TcpStream, port: u16, path: &str, headers: &Headers) -> Result<(), ProbeFailure> {
    let asked = Asked { port, what: format!("GET {path}") };
    let mut request = with(Request::get(path), headers);
    if !says(headers, header::HOST.as_str()) {
        request = request.header(header::HOST, format!("127.0.0.1:{port}"));
    }
    let request = request.header(header::CONNECTION, "close").body(Full::<Bytes>::default());
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
    judge(answer.map_err(|source| asked.failed(source))?.status(), &asked)
}

/// The same over HTTP/2, whose host is that of the target.
pub(super) async fn get_h2c(stream: TcpStream, port: u16, path: &str, headers: &Headers) -> Result<(), ProbeFailure> {
    let asked = Asked { port, what: format!("GET {path}") };
    let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(header::HOST.as_str()));
    let host = host.map_or_else(|| format!("127.0.0.1:{port}"), |(_, host)| host.clone());
    let target = Uri::builder().scheme("http").authority(host).path_and_query(path).build();
    let target = target.map_err(|source| asked.impossible(source))?;
    let request = with(Request::get(target), headers).body(Full::<Bytes>::default());
    let request = request.map(without_host).map_err(|source| asked.impossible(source))?;
    h2c::exchange(stream, request, &asked, async |answer| judge(answer.status(), &asked)).await
}

fn without_host<B>(mut request: Request<B>) -> Request<B> {
    request.headers_mut().remove(header::HOST);
    request
}

fn with(request: Builder, headers: &Headers) -> http::request::Builder {
    let agent = (!says(headers, header::USER_AGENT.as_str())).then_some((header::USER_AGENT.as_str(), USER_AGENT));
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    agent.into_iter().chain(headers).fold(request, |request, (name, value)| request.header(name, value))
}

fn says(headers: &Headers, name: &str) -> bool {
    headers.iter().any(|(said, _)| said.eq_ignore_ascii_case(name))
}

fn judge(status: StatusCode, asked: &Asked) -> Result<(), ProbeFailure> {
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(asked.status(status)) }
}
