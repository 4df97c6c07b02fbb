//! The smallest HTTP/1.1 client that can also send what no client library would.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::Value;

use crate::wait::DEADLINE;

/// Bytes of one request.
#[derive(Debug, Clone)]
pub struct Request {
    head: String,
    host: String,
    body: Vec<u8>,
    tells_length: bool,
}

impl Request {
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\n");
        Self { head, host: "dormouse".to_owned(), body: Vec::new(), tells_length: true }
    }

    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    #[must_use]
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", path).body(body)
    }

    /// An inference request of JSON.
    #[must_use]
    pub fn infer(model: &str, body: &Value) -> Self {
        Self::post(&format!("/v2/models/{model}/infer"), body.to_string())
    }

    /// An inference request of JSON and binary tensors behind it.
    #[must_use]
    pub fn infer_binary(model: &str, json: &Value, tensors: &[u8]) -> Self {
        let json = json.to_string();
        let length = json.len().to_string();
        Self::post(&format!("/v2/models/{model}/infer"), [json.as_bytes(), tensors].concat())
            .header("inference-header-content-length", &length)
    }

    /// For whom it is, in place of nobody in particular.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The body without a word about its length.
    #[must_use]
    pub fn bare_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.tells_length = false;
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = if self.tells_length { format!("content-length: {}\r\n", self.body.len()) } else { String::new() };
        let host = format!("host: {}\r\n", self.host);
        [self.head.as_bytes(), host.as_bytes(), length.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection<S: Read + Write> {
    stream: BufReader<S>,
}

impl Connection<TcpStream> {
    /// # Panics
    /// Where nobody listens.
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        Self::over(stream)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Connects without insisting on it.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn try_to(address: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect(address).map(Self::over)
    }
}

impl Connection<UnixStream> {
    /// # Errors
    /// As the kernel says.
    pub fn to_socket(path: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }
}

impl<S: Read + Write> Connection<S> {
    /// # Panics
    /// Where the connection breaks.
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Response {
        self.try_send(request).unwrap_or_else(|error| panic!("{}: {error}", request.head.lines().next().unwrap_or("")))
    }

    /// # Errors
    /// Where the connection breaks before the answer is whole.
    pub fn try_send(&mut self, request: &Request) -> std::io::Result<Response> {
        // Whoever refuses a request early may have closed before all of it was written.
        let written = self.write(&request.bytes());
        self.receive().map_err(|error| written.err().unwrap_or(error))
    }

    /// # Errors
    /// Where the connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// # Errors
    /// Where the connection breaks before the answer is whole.
    pub fn receive(&mut self) -> std::io::Result<Response> {
        Response::read(&mut self.stream)
    }
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    fn read(stream: &mut impl BufRead) -> std::io::Result<Self> {
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let status_line = line(stream)?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
        let mut headers = Vec::new();
        loop {
            let line = line(stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Self { status, headers, body: Vec::new() };
        if status == 100 {
            return Self::read(stream);
        }
        response.body = response.read_body(stream)?;
        Ok(response)
    }

    fn read_body(&self, stream: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.header("transfer-encoding").is_some() {
            loop {
                let length = usize::from_str_radix(line(stream)?.trim(), 16).map_err(std::io::Error::other)?;
                let begin = body.len();
                body.resize(begin + length, 0);
                stream.read_exact(&mut body[begin..])?;
                line(stream)?;
                if length == 0 {
                    return Ok(body);
                }
            }
        }
        let length = self.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        Ok(body)
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Panics
    /// Where the body is no JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text()))
    }

    /// # Panics
    /// Where the answer is not 200.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }

    /// The text of a refusal.
    ///
    /// # Panics
    /// Where the answer is another, or no error body.
    #[track_caller]
    #[must_use]
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
        body["error"].as_str().expect("a text").to_owned()
    }

    /// When to come again.
    ///
    /// # Panics
    /// Where the answer does not say, or says less than a second.
    #[track_caller]
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        let seconds = self.header("retry-after").unwrap_or_else(|| panic!("no Retry-After: {:?}", self.headers));
        let seconds = seconds.parse().expect("whole seconds");
        assert!(seconds >= 1, "{seconds}");
        seconds
    }
}

fn line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
