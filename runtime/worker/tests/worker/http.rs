//! The smallest HTTP/1.1 client that can also send what no client library would.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\ncontent-length: {length}\r\n");
        Self { head, body: body.to_vec() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path, b"")
    }

    pub(crate) fn infer(body: &[u8]) -> Self {
        Self::new("POST", "/v2/models/any/infer", body)
    }

    /// JSON followed by binary tensors.
    pub(crate) fn infer_binary(json: &str, binary: &[u8]) -> Self {
        let length = json.len().to_string();
        Self::infer(&[json.as_bytes(), binary].concat()).header("Inference-Header-Content-Length", &length)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn send(self, socket: &Path) -> Response {
        let mut stream = self.start(socket);
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        Response::parse(&reply)
    }

    /// Sends without waiting for the answer.
    pub(crate) fn start(self, socket: &Path) -> UnixStream {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(crate::process::DEADLINE)).unwrap();
        // A worker that refuses a request from its first part alone may have closed already.
        let _ = stream.write_all(&[self.head.as_bytes(), b"\r\n", &self.body].concat());
        stream
    }
}

impl Response {
    pub(crate) fn parse(reply: &[u8]) -> Self {
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n").expect("a complete head");
        let head = String::from_utf8(reply[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: reply[end + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON and the binary part of an answer.
    pub(crate) fn parts(&self) -> (Value, &[u8]) {
        let length = self.header("inference-header-content-length").expect("a binary answer").parse().unwrap();
        let (json, binary) = self.body.split_at(length);
        (serde_json::from_slice(json).unwrap(), binary)
    }

    /// The error of a refused request.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()["error"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }
}
