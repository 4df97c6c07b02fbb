//! Images that speak HTTP/2 without TLS and nothing else: gRPC from end to end.

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use dormouse_tests::{Connection, Daemon, Endpoint, program_image, wait::until_true};
use http::Request;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc};

use super::{IMAGE, to};
use crate::real;

fn bring(daemon: &Daemon) {
    program_image::bring(daemon, Path::new(env!("CARGO_BIN_EXE_dormouse-h2c")), IMAGE);
}

fn deploy<'a>(daemon: &'a Daemon, name: &str, container: &str) -> Endpoint<'a> {
    let container: String = container.lines().map(|line| format!("      {line}\n")).collect();
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: {{dormouse.dev/min-replicas: \"0\"}}}}\n\
         spec:\n  containers:\n    - image: {IMAGE}\n{container}"
    );
    let file = daemon.home().write(&format!("{name}.yaml"), manifest);
    let _ = daemon.cli(&["deploy", "-f", file.to_str().unwrap()]).ok();
    Endpoint::of(daemon, name)
}

/// A body whose parts are the test's.
struct Parts(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A call of gRPC to an endpoint, by the host of its target.
async fn call(daemon: &Daemon, path: &str) -> (mpsc::UnboundedSender<Frame<Bytes>>, http::Response<Incoming>) {
    let stream = TcpStream::connect(daemon.address()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (says, body) = mpsc::unbounded_channel();
    let request = Request::post(format!("http://hello.example.com{path}")).header("te", "trailers");
    let request = request.header("content-type", "application/grpc").body(Parts(body)).unwrap();
    (says, sender.send_request(request).await.unwrap())
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

#[test]
fn calls_and_streams_of_grpc_pass_from_end_to_end() {
    let daemon = real().start();
    bring(&daemon);
    let hello =
        deploy(&daemon, "hello", "ports: [{name: h2c, containerPort: 9000}]\nreadinessProbe: {grpc: {port: 9000}}");
    assert_eq!(hello.status()["image"]["app_protocol"], "h2c");
    // Over HTTP/1.1 too, whatever is spoken to the image.
    let seen = daemon.send(&to("hello", "/seen")).ok().text();
    assert_eq!(seen, "HTTP/2.0 te=none authority=hello.example.com");
    block_on(async {
        let (says, answer) = call(&daemon, "/a.B/Stream").await;
        let mut heard = answer.into_body();
        for word in ["one", "two"] {
            says.send(Frame::data(Bytes::from_static(word.as_bytes()))).unwrap();
            assert_eq!(heard.frame().await.unwrap().unwrap().into_data().unwrap(), word);
        }
        drop(says);
        let trailers = heard.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        let (says, answer) = call(&daemon, "/a.B/Stream").await;
        drop((says, answer));
    });
    until_true("the image learns that a client went away", || {
        daemon.cli(&["logs", "hello"]).ok().stdout.contains("a stream ended")
    });
    let upgrade = to("hello", "/").header("connection", "upgrade").header("upgrade", "websocket");
    assert!(daemon.send(&upgrade).error(501).contains("HTTP/2"));
}

#[test]
fn a_stream_may_be_still_for_longer_than_a_client_is_waited_for() {
    let daemon = real().set("gateway", "client_wait", "\"1s\"").start();
    bring(&daemon);
    deploy(&daemon, "hello", "ports: [{name: h2c, containerPort: 9000}]");
    block_on(async {
        let (says, answer) = call(&daemon, "/a.B/Stream").await;
        let mut heard = answer.into_body();
        // Whoever came after it and did not send what it promised was not waited for any longer.
        let slow = b"POST / HTTP/1.1\r\nhost: hello.example.com\r\ncontent-length: 5\r\n\r\n";
        let mut late = Connection::to(daemon.address());
        let refused = tokio::task::spawn_blocking(move || {
            late.write(slow).unwrap();
            late.receive().unwrap().status
        });
        assert_eq!(refused.await.unwrap(), 408);
        says.send(Frame::data(Bytes::from_static(b"still here"))).unwrap();
        assert_eq!(heard.frame().await.unwrap().unwrap().into_data().unwrap(), "still here");
    });
}

#[test]
fn probes_speak_what_the_image_speaks_and_grpc_tells_that_it_is_ill() {
    let daemon = real().start();
    bring(&daemon);
    let _ = daemon.cli(&["deploy", IMAGE, "--name", "plain", "--h2c"]).ok();
    assert!(daemon.send(&to("plain", "/seen")).ok().text().starts_with("HTTP/2.0"));
    let probes = "ports: [{name: h2c, containerPort: 9000}]\nreadinessProbe: {httpGet: {path: /seen}}\n\
                  livenessProbe: {grpc: {port: 9000}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}";
    let hello = deploy(&daemon, "hello", probes);
    let _ = daemon.send(&to("hello", "/ill")).ok();
    let answer = daemon.send(&to("hello", "/hang"));
    let cause = "liveness probe: the gRPC health check on port 9000 was answered NOT_SERVING, once";
    assert!(answer.status == 502 && answer.text().contains(cause), "{} {}", answer.status, answer.text());
    assert!(hello.status()["last_failure"].to_string().contains("NOT_SERVING"));
}
