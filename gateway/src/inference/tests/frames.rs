//! Frames of HTTP/2, of the first stream, for what no library of it does.

use tokio::io::{AsyncRead, AsyncReadExt};

pub(in crate::inference) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Fields of a head that have a number of their own (RFC 7541, Appendix A).
pub(in crate::inference) const POST: u8 = 0x83;
pub(in crate::inference) const ROOT: u8 = 0x84;
pub(in crate::inference) const HTTP: u8 = 0x86;
pub(in crate::inference) const STATUS_200: u8 = 0x88;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

pub(in crate::inference) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

pub(in crate::inference) fn head(fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, fields)
}

pub(in crate::inference) fn data(text: &str, is_last: bool) -> Vec<u8> {
    frame(DATA, if is_last { END_STREAM } else { 0 }, 1, text.as_bytes())
}

/// One that tells no error.
pub(in crate::inference) fn reset() -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &[0; 4])
}

/// Reads what a client says until its first request is there.
pub(in crate::inference) async fn read_to_a_head(client: &mut (impl AsyncRead + Unpin)) {
    client.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        client.read_exact(&mut vec![0; length as usize]).await.unwrap();
        if head[3] == HEADERS {
            return;
        }
    }
}
