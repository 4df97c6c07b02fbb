use std::io::{BufReader, ErrorKind, Read, Seek};

use super::OnnxError;

/// Ten groups of seven bits hold 64.
const VARINT_BYTES_MAX: u32 = 10;

/// How protobuf writes a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    Fixed32,
}

/// Reads protobuf's wire format. Nothing is read or skipped beyond the `end` of the message that a
/// field stands in.
pub(super) struct Wire<R> {
    reader: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Wire<R> {
    pub(super) fn new(reader: BufReader<R>) -> Self {
        Self { reader, at: 0 }
    }

    /// Bytes from the beginning.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    fn malformed(&self, what: &'static str) -> OnnxError {
        OnnxError::Malformed { at: self.at, what }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), OnnxError> {
        self.reader.read_exact(buffer).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => self.malformed("the file ends"),
            _ => OnnxError::Read { at: self.at, source },
        })?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    pub(super) fn varint(&mut self, end: u64) -> Result<u64, OnnxError> {
        let mut value = 0_u64;
        for group in 0..VARINT_BYTES_MAX {
            if self.at >= end {
                return Err(self.malformed("a number is cut short"));
            }
            let mut byte = [0];
            self.fill(&mut byte)?;
            let [byte] = byte;
            value |= u64::from(byte & 0x7f).wrapping_shl(7 * group);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number has no end"))
    }

    /// A field's number and how its value is written.
    pub(super) fn key(&mut self, end: u64) -> Result<(u64, WireType), OnnxError> {
        let key = self.varint(end)?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            5 => WireType::Fixed32,
            _ => return Err(self.malformed("a field has a type that ONNX does not use")),
        };
        match key >> 3 {
            0 => Err(self.malformed("a field has the number 0")),
            field => Ok((field, wire_type)),
        }
    }

    /// Where the value that follows ends.
    pub(super) fn bytes_end(&mut self, end: u64) -> Result<u64, OnnxError> {
        let length = self.varint(end)?;
        self.at
            .checked_add(length)
            .filter(|value_end| *value_end <= end)
            .ok_or_else(|| self.malformed("a field is longer than what it stands in"))
    }

    pub(super) fn text(&mut self, end: u64, bytes_max: u64) -> Result<String, OnnxError> {
        let length = self.bytes_end(end)? - self.at;
        let length = usize::try_from(length)
            .ok()
            .filter(|_| length <= bytes_max)
            .ok_or_else(|| self.malformed("a text of external data is too long"))?;
        let mut text = vec![0; length];
        self.fill(&mut text)?;
        String::from_utf8(text).map_err(|_| self.malformed("a text is not UTF-8"))
    }

    pub(super) fn skip(&mut self, wire_type: WireType, end: u64) -> Result<(), OnnxError> {
        let value_end = match wire_type {
            WireType::Varint => return self.varint(end).map(|_| ()),
            WireType::Fixed64 => self.at.saturating_add(8),
            WireType::Fixed32 => self.at.saturating_add(4),
            WireType::Bytes => self.bytes_end(end)?,
        };
        if value_end > end {
            return Err(self.malformed("a field is longer than what it stands in"));
        }
        let length =
            i64::try_from(value_end - self.at).map_err(|_| self.malformed("a field is longer than any file"))?;
        self.reader.seek_relative(length).map_err(|source| OnnxError::Read { at: self.at, source })?;
        self.at = value_end;
        Ok(())
    }
}
