//! HTTP/2 without TLS, by prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

/// Method, path and body of a request.
pub type Ask = (&'static str, String, Vec<u8>);

/// Sends all requests at once on one connection; the answers come in their order.
///
/// # Panics
/// Where the connection breaks.
#[must_use]
pub fn exchange(address: SocketAddr, asks: Vec<Ask>) -> Vec<(u16, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut exchanges = JoinSet::new();
        for (number, (method, path, body)) in asks.into_iter().enumerate() {
            let mut sender = sender.clone();
            let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
            let request = request.body(Full::<Bytes>::from(body)).unwrap();
            exchanges.spawn(async move {
                let answer = sender.send_request(request).await.unwrap();
                let status = answer.status().as_u16();
                (number, (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec()))
            });
        }
        let mut answers = exchanges.join_all().await;
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    })
}
