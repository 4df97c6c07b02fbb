//! The health protocol of gRPC: `grpc.health.v1.Health/Check`, over HTTP/2 without TLS.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, header};
use tokio::net::TcpStream;

use super::{
    Asked, ProbeFailure, USER_AGENT, h2c,
    health::{self, Health},
};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Of the answer's body: one message of two bytes, where nobody adds anything.
const ANSWER_BYTES_MAX: usize = 4 << 10;
const GRPC_STATUS: &str = "grpc-status";
const OK: &str = "0";

pub(super) async fn check(stream: TcpStream, port: u16, service: &str) -> Result<(), ProbeFailure> {
    let whose = if service.is_empty() { String::new() } else { format!(" of `{service}`") };
    let asked = Asked { port, what: format!("the gRPC health check{whose}") };
    let request = Request::post(format!("http://127.0.0.1:{port}{PATH}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(health::request(service)))
        .map_err(|source| asked.impossible(source))?;
    h2c::exchange(stream, request, &asked, async |answer| read(answer, &asked).await).await
}

async fn read(response: Response<Incoming>, asked: &Asked) -> Result<(), ProbeFailure> {
    if response.status() != StatusCode::OK {
        return Err(asked.status(response.status()));
    }
    let (head, mut body) = response.into_parts();
    let (mut message, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(|source| asked.failed(source))?.into_data() {
            Ok(data) if message.len() + data.len() <= ANSWER_BYTES_MAX => message.extend_from_slice(&data),
            Ok(_) => return Err(asked.health(format!("more than {ANSWER_BYTES_MAX} bytes"))),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    // What fails at once says so in its only head.
    let status = trailers.get(GRPC_STATUS).or_else(|| head.headers.get(GRPC_STATUS));
    match status.and_then(|status| status.to_str().ok()) {
        Some(OK) => match health::answer(&Bytes::from(message)) {
            Some(Health::Serving) => Ok(()),
            Some(health) => Err(asked.health(health.to_string())),
            None => Err(asked.health("no HealthCheckResponse".to_owned())),
        },
        Some(status) => Err(asked.health(format!("status {}", dormouse_spec::printable(status)))),
        None => Err(asked.health(format!("without a {GRPC_STATUS}"))),
    }
}
