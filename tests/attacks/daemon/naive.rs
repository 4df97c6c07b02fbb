//! A naive front: what a server would be that nobody attacked yet. Where the defence is the HTTP
//! library's own strictness, which no build can take away, this is the control.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use dormouse_attacks::Ground;
use dormouse_tests::{Connection, Daemon, Request};

/// What this front is without.
pub(crate) const DEFENCE: &str = "StrictServer";

/// Begins every connection of HTTP/2.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where a client of this ground connects: to the gateway, or to a naive front before it.
pub(crate) fn door(ground: &Ground, daemon: &Daemon) -> SocketAddr {
    if !ground.environment.iter().any(|(_, value)| value == DEFENCE) {
        return daemon.address();
    }
    let (listener, gateway) = (TcpListener::bind("127.0.0.1:0").unwrap(), daemon.address());
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || serve(stream, gateway));
        }
    });
    address
}

/// Ends where a connection does.
fn serve(stream: TcpStream, gateway: SocketAddr) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    if reader.fill_buf().ok()?.starts_with(b"PRI") {
        return swallow(reader);
    }
    loop {
        let request = request(&mut reader)?;
        let answer = Connection::to(gateway).try_send(&request).ok()?;
        let (status, length) = (answer.status, answer.body.len());
        write!(writer, "HTTP/1.1 {status} -\r\ncontent-length: {length}\r\n\r\n").ok()?;
        writer.write_all(&answer.body).ok()?;
    }
}

/// A request as the most forgiving reader understands it.
fn request(reader: &mut impl BufRead) -> Option<Request> {
    let begin = loop {
        match line(reader)? {
            blank if blank.is_empty() => {}
            begin => break begin,
        }
    };
    let mut words = begin.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            break;
        }
        match line.split_once(':') {
            _ if line.starts_with([' ', '\t']) => headers.last_mut()?.1.push_str(line.trim()),
            Some((name, value)) => headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned())),
            None => {}
        }
    }
    let find = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value);
    let body = match (find("content-length"), find("transfer-encoding")) {
        (Some(length), _) => sized(reader, length.parse().ok()?)?,
        (None, Some(coding)) if coding.contains("chunked") => chunked(reader)?,
        _ => Vec::new(),
    };
    Some(Request::new(&method, &target).body(body))
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn sized(reader: &mut impl Read, length: usize) -> Option<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn chunked(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(reader)?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        body.extend(sized(reader, size)?);
        line(reader)?;
        if size == 0 {
            return Some(body);
        }
    }
}

/// Reads on for ever and keeps an answer to each frame, for a client that may come to read it.
fn swallow(mut reader: impl Read) -> Option<()> {
    let mut answers = Vec::new();
    let mut frame = [0; 17];
    reader.read_exact(&mut [0; 24]).ok()?;
    loop {
        reader.read_exact(&mut frame[..9]).ok()?;
        let length = usize::from(frame[2]).min(8);
        reader.read_exact(&mut frame[9..9 + length]).ok()?;
        answers.extend_from_slice(&frame);
    }
}
