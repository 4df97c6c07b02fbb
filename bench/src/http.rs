use std::io::{BufRead, BufReader, Read, Write};

use crate::models::Request;

/// One kept connection over which requests go one after another. A client of its own, so that the
/// thing measured is not measured with itself.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// One inference; the body of its answer, unread. Fails unless it is answered with success.
    pub(crate) fn infer(&mut self, endpoint: &str, request: &Request) -> std::io::Result<Vec<u8>> {
        let tensors = request.json_length.map(|length| format!("Inference-Header-Content-Length: {length}\r\n"));
        self.exchange("POST", &format!("/v2/models/{endpoint}/infer"), &tensors.unwrap_or_default(), &request.body)
    }

    /// A request without a body, and the body of its answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> std::io::Result<Vec<u8>> {
        self.exchange(method, path, "", b"")
    }

    /// What `host` shows at `path`.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> std::io::Result<Vec<u8>> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        stream.flush()?;
        self.answer().map_err(|error| std::io::Error::other(format!("GET {path} of {host}: {error}")))
    }

    fn exchange(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        self.write(method, path, headers, body)?;
        self.answer().map_err(|error| std::io::Error::other(format!("{method} {path}: {error}")))
    }

    /// Sends a request and does not wait for its answer.
    pub(crate) fn write(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        let stream = self.stream.get_mut();
        stream.write_all(&[head.as_bytes(), body].concat())?;
        stream.flush()
    }

    /// The body of the next answer.
    pub(crate) fn answer(&mut self) -> std::io::Result<Vec<u8>> {
        let (status, length) = self.head()?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        if status.starts_with('2') {
            Ok(answer)
        } else {
            Err(std::io::Error::other(format!("{status} {}", String::from_utf8_lossy(&answer))))
        }
    }

    fn head(&mut self) -> std::io::Result<(String, usize)> {
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("the connection was closed before an answer"));
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
    }
}
