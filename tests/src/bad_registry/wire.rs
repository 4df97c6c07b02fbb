//! HTTP/1.1 as a server writes it, true or not.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
};

/// What one chunk of a body without an end is.
const ENDLESS_CHUNK: [u8; 4 << 10] = [b' '; 4 << 10];

/// A request, as far as registries are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

impl Asked {
    /// The first byte that is wanted of what the path names.
    pub(super) fn first_byte(&self) -> usize {
        let range = self.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split('-').next());
        range.and_then(|first| first.parse().ok()).unwrap_or(0)
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) then: Then,
}

/// What follows the bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request.
    NextRequest,
    /// The end of the connection, where this many bytes more were announced.
    Cut { missing: usize },
    /// Nothing, where this many bytes more were announced.
    Stall { missing: usize },
    /// More of it, as long as somebody reads.
    Endless,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), then: Then::NextRequest }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} said\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = match self.then {
            Then::NextRequest => format!("content-length: {}", self.body.len()),
            Then::Cut { missing } | Then::Stall { missing } => {
                format!("content-length: {}", self.body.len() + missing)
            }
            Then::Endless => "transfer-encoding: chunked".to_owned(),
        };
        head + &length + "\r\n\r\n"
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(super) fn over(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// None where the client is done, or tries TLS: its hello has no end of a line to wait for.
    pub(super) fn receive(&mut self) -> io::Result<Option<Asked>> {
        if !self.stream.fill_buf()?.first().is_some_and(u8::is_ascii_uppercase) {
            return Ok(None);
        }
        let Some(first) = self.line()? else { return Ok(None) };
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut asked = Asked { method, path, range: None, authorization: None };
        while let Some(line) = self.line()?.filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = Some(value.trim().to_owned());
            match name.to_ascii_lowercase().as_str() {
                "range" => asked.range = value,
                "authorization" => asked.authorization = value,
                _ => {}
            }
        }
        Ok(Some(asked))
    }

    pub(super) fn send(&mut self, asked: &Asked, answer: &Answer) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(answer.head().as_bytes())?;
        if asked.method == "HEAD" {
            return Ok(());
        }
        match answer.then {
            Then::NextRequest => stream.write_all(&answer.body),
            Then::Cut { .. } => {
                stream.write_all(&answer.body)?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Then::Stall { .. } => {
                stream.write_all(&answer.body)?;
                self.until_closed()
            }
            Then::Endless => loop {
                stream.write_all(format!("{:x}\r\n", ENDLESS_CHUNK.len()).as_bytes())?;
                stream.write_all(&ENDLESS_CHUNK)?;
                stream.write_all(b"\r\n")?;
            },
        }
    }

    /// For both sides, whoever else holds the socket.
    pub(super) fn close(self) {
        let _ = self.stream.into_inner().shutdown(Shutdown::Both);
    }

    fn until_closed(&mut self) -> io::Result<()> {
        while self.stream.read(&mut [0; 1024])? > 0 {}
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }
}
