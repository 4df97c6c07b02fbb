use std::io::{BufRead, BufReader, Read, Write};

use crate::model::Model;

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

    /// One inference; fails unless it is answered with 200 and outputs.
    pub(crate) fn infer(&mut self, endpoint: &str, model: &Model) -> std::io::Result<()> {
        let body = self.send("POST", &format!("/v2/models/{endpoint}/infer"), &model.request)?;
        let has_outputs = body.windows(9).any(|window| window == b"\"outputs\"");
        if has_outputs { Ok(()) } else { Err(std::io::Error::other("an answer without outputs")) }
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let stream = self.stream.get_mut();
        stream.write_all(&[head.as_bytes(), body].concat())?;
        stream.flush()?;
        let (status, length) = self.head()?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        if status == "200" {
            Ok(answer)
        } else {
            Err(std::io::Error::other(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&answer))))
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
