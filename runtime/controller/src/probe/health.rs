//! The two messages of gRPC's health protocol, as they are on the wire. Pure.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// What stands before each message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// `string service = 1` and `ServingStatus status = 1`.
const FIELD: u64 = 1;
const VARINT_BITS_MAX: u32 = 64;

/// `HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    NotServing,
    /// `UNKNOWN`, and whatever else there may come to be.
    Unknown,
    ServiceUnknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::Unknown => "UNKNOWN",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        })
    }
}

/// A `HealthCheckRequest` with its prefix.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        put_varint(FIELD << 3 | LENGTH_DELIMITED, &mut message);
        put_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

/// What a `HealthCheckResponse` with its prefix says. None where it is none.
pub(super) fn answer(framed: &[u8]) -> Option<Health> {
    let (prefix, mut rest) = framed.split_at_checked(PREFIX_BYTES)?;
    let length = u32::from_be_bytes(prefix.get(1..)?.try_into().ok()?);
    if prefix.first() != Some(&0) || rest.len() != usize::try_from(length).ok()? {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            VARINT if tag >> 3 == FIELD => status = varint(&mut rest)?,
            VARINT => drop(varint(&mut rest)?),
            FIXED_64 => skip(&mut rest, 8)?,
            LENGTH_DELIMITED => {
                let length = varint(&mut rest)?;
                skip(&mut rest, usize::try_from(length).ok()?)?;
            }
            FIXED_32 => skip(&mut rest, 4)?,
            _ => return None,
        }
    }
    Some(match status {
        1 => Health::Serving,
        2 => Health::NotServing,
        3 => Health::ServiceUnknown,
        _ => Health::Unknown,
    })
}

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

fn put_varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..VARINT_BITS_MAX).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip(from: &mut &[u8], bytes: usize) -> Option<()> {
    *from = from.get(bytes..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_other_encoders_write() {
        assert_eq!(&request("")[..], b"\0\0\0\0\0");
        assert_eq!(&request("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(&request(&"x".repeat(200))[..8], b"\0\0\0\0\xcb\x0a\xc8\x01");
    }

    #[test]
    fn an_answer_is_read_whatever_else_is_in_it() {
        let table: [(&[u8], Option<Health>); 12] = [
            (b"\0\0\0\0\x02\x08\x01", Some(Health::Serving)),
            (b"\0\0\0\0\x02\x08\x02", Some(Health::NotServing)),
            (b"\0\0\0\0\x02\x08\x03", Some(Health::ServiceUnknown)),
            (b"\0\0\0\0\0", Some(Health::Unknown)),
            (b"\0\0\0\0\x02\x08\x63", Some(Health::Unknown)),
            (b"\0\0\0\0\x06\x12\x02hi\x08\x01", Some(Health::Serving)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x80", None),
            (b"\0\0\0\0\x03\x12\x7fa", None),
            (b"\0\0", None),
            (b"", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(answer(bytes), expected, "{bytes:?}");
        }
    }
}
