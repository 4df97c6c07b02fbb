//! The JSON form: `data` as one flat array, or nested as the shape says.

use std::borrow::Cow;

use super::element::JsonElement;
use super::{Tensor, for_elements};
use crate::v2::{Datatype, Shape};

/// Longest piece of a request quoted in an error, in characters.
const QUOTED_CHARS_MAX: usize = 40;

/// Why JSON is not the elements of a tensor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JsonDataError {
    #[error("{0} has no JSON form: send it as binary_data")]
    NoJsonForm(Datatype),
    #[error("element {index} is {found}, not {expected} for {datatype}")]
    Element { index: usize, found: String, expected: &'static str, datatype: Datatype },
    #[error("{found} elements, but the shape holds {expected}")]
    TooFew { expected: usize, found: usize },
    #[error("more elements than the {expected} that the shape holds")]
    TooMany { expected: usize },
    #[error("arrays nested deeper than the shape's {rank} dimensions")]
    TooDeep { rank: usize },
    #[error("an array with {found} entries where dimension {dimension} is {expected}")]
    Row { dimension: usize, expected: i64, found: i64 },
    #[error("element {index} lies outside the innermost arrays")]
    Ragged { index: usize },
    #[error("an array is expected")]
    NotAnArray,
}

impl Tensor<'static> {
    /// Reads the `data` of a request. `json` is one complete JSON value, already known to be well-formed.
    ///
    /// # Errors
    /// Elements of another kind, out of range, too few or too many, or nesting that contradicts the shape.
    pub fn from_json(datatype: Datatype, shape: &Shape, json: &str) -> Result<Self, JsonDataError> {
        fn read<T: JsonElement + Clone>(
            datatype: Datatype,
            shape: &Shape,
            json: &str,
        ) -> Result<Cow<'static, [T]>, JsonDataError> {
            Scan { json, at: 0 }.values(datatype, shape).map(Cow::Owned)
        }
        Ok(match datatype {
            Datatype::Bool => Self::Bool(read(datatype, shape, json)?),
            Datatype::Uint8 => Self::Uint8(read(datatype, shape, json)?),
            Datatype::Uint16 => Self::Uint16(read(datatype, shape, json)?),
            Datatype::Uint32 => Self::Uint32(read(datatype, shape, json)?),
            Datatype::Uint64 => Self::Uint64(read(datatype, shape, json)?),
            Datatype::Int8 => Self::Int8(read(datatype, shape, json)?),
            Datatype::Int16 => Self::Int16(read(datatype, shape, json)?),
            Datatype::Int32 => Self::Int32(read(datatype, shape, json)?),
            Datatype::Int64 => Self::Int64(read(datatype, shape, json)?),
            Datatype::Fp32 => Self::Fp32(read(datatype, shape, json)?),
            Datatype::Fp64 => Self::Fp64(read(datatype, shape, json)?),
            Datatype::Bytes => Self::Bytes(read(datatype, shape, json)?),
            Datatype::Fp16 | Datatype::Bf16 => return Err(JsonDataError::NoJsonForm(datatype)),
        })
    }
}

impl Tensor<'_> {
    /// Appends the elements as one flat JSON array. Non-finite floats become `NaN`, `Infinity` and `-Infinity`.
    ///
    /// # Errors
    /// The half-precision types, which have no JSON form.
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), JsonDataError> {
        match self {
            Self::Bool(values) => write_array(values, out),
            Self::Uint8(values) => write_array(values, out),
            Self::Uint16(values) => write_array(values, out),
            Self::Uint32(values) => write_array(values, out),
            Self::Uint64(values) => write_array(values, out),
            Self::Int8(values) => write_array(values, out),
            Self::Int16(values) => write_array(values, out),
            Self::Int32(values) => write_array(values, out),
            Self::Int64(values) => write_array(values, out),
            Self::Fp32(values) => write_array(values, out),
            Self::Fp64(values) => write_array(values, out),
            Self::Bytes(values) => write_array(values, out),
            Self::Fp16(_) | Self::Bf16(_) => return Err(JsonDataError::NoJsonForm(self.datatype())),
        }
        Ok(())
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        for_elements!(self, values => values.len(), bytes strings => strings.len())
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn write_array<T: JsonElement>(values: &[T], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        value.write_json(out);
    }
    out.push(b']');
}

impl JsonElement for String {
    const EXPECTED: &'static str = "a string without NUL characters";
    fn from_token(token: &str) -> Option<Self> {
        serde_json::from_str(token).ok().filter(|text: &Self| !text.contains('\0'))
    }
    fn write_json(&self, out: &mut Vec<u8>) {
        let written = serde_json::to_writer(out, self);
        debug_assert!(written.is_ok());
    }
}

/// A position in well-formed JSON. Elements are read straight into their final type, with no tree in between.
struct Scan<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn values<T: JsonElement>(mut self, datatype: Datatype, shape: &Shape) -> Result<Vec<T>, JsonDataError> {
        let expected = shape.elements();
        // The shape comes from the request too: reserve no more than this text can hold.
        let mut values = Vec::with_capacity(expected.min(self.json.len() / 2 + 1));
        let mut nesting = Nesting::of(shape, self.starts_nested());
        while let Some(byte) = self.skip_to_next() {
            match byte {
                b'[' => nesting.open()?,
                b']' => nesting.close()?,
                _ => {
                    let index = values.len();
                    nesting.element(index)?;
                    if index == expected {
                        return Err(JsonDataError::TooMany { expected });
                    }
                    let token = self.token(byte);
                    let value = T::from_token(token);
                    #[cfg(weakened)]
                    let value = value
                        .or_else(|| (!crate::defence::Defence::NumbersChecked.stands()).then(|| T::from_token("0"))?);
                    values.push(value.ok_or_else(|| JsonDataError::Element {
                        index,
                        found: quoted(token),
                        expected: T::EXPECTED,
                        datatype,
                    })?);
                    continue;
                }
            }
            self.at += 1;
        }
        if values.len() == expected { Ok(values) } else { Err(JsonDataError::TooFew { expected, found: values.len() }) }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.json.as_bytes().get(at).copied()
    }

    /// Whether the first thing in the outermost array is another array.
    fn starts_nested(&self) -> bool {
        let mut structure = self.json.bytes().filter(|byte| !byte.is_ascii_whitespace());
        structure.next() == Some(b'[') && structure.next() == Some(b'[')
    }

    fn skip_to_next(&mut self) -> Option<u8> {
        while let Some(byte) = self.byte(self.at) {
            if byte != b',' && !byte.is_ascii_whitespace() {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// The token that starts here and whose first byte is `first`; leaves the position behind it. An object is cut
    /// short, which no element type accepts.
    fn token(&mut self, first: u8) -> &'a str {
        let start = self.at;
        self.at += 1;
        if first == b'"' {
            while let Some(byte) = self.byte(self.at) {
                self.at += if byte == b'\\' { 2 } else { 1 };
                if byte == b'"' {
                    break;
                }
            }
        } else {
            let ends = |byte: u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
            while self.byte(self.at).is_some_and(|byte| !ends(byte)) {
                self.at += 1;
            }
        }
        self.json.get(start..self.at).unwrap_or_default()
    }
}

/// Where in the arrays the scan is, and whether that agrees with the shape.
struct Nesting<'a> {
    dims: &'a [i64],
    /// Entries seen so far in each open array.
    open: Vec<i64>,
    /// Arrays follow the dimensions; otherwise there is one flat array.
    nested: bool,
    scalar: bool,
}

impl<'a> Nesting<'a> {
    fn of(shape: &'a Shape, nested: bool) -> Self {
        Self { dims: shape.dims(), open: Vec::new(), nested, scalar: shape.dims().is_empty() }
    }

    fn open(&mut self) -> Result<(), JsonDataError> {
        let deepest = if self.nested { self.dims.len() } else { 1 };
        if self.open.len() >= deepest {
            return Err(JsonDataError::TooDeep { rank: self.dims.len() });
        }
        self.count_entry();
        self.open.push(0);
        Ok(())
    }

    fn close(&mut self) -> Result<(), JsonDataError> {
        let Some(found) = self.open.pop() else { return Ok(()) };
        let dimension = self.open.len();
        match self.dims.get(dimension) {
            Some(&expected) if self.nested && expected != found => {
                Err(JsonDataError::Row { dimension, expected, found })
            }
            _ => Ok(()),
        }
    }

    fn element(&mut self, index: usize) -> Result<(), JsonDataError> {
        if self.nested && self.open.len() != self.dims.len() {
            return Err(JsonDataError::Ragged { index });
        }
        if self.open.is_empty() && !self.scalar {
            return Err(JsonDataError::NotAnArray);
        }
        self.count_entry();
        Ok(())
    }

    fn count_entry(&mut self) {
        if let Some(entries) = self.open.last_mut() {
            *entries += 1;
        }
    }
}

/// The start of `token`, so that an error stays one short line.
fn quoted(token: &str) -> String {
    match token.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", token.get(..end).unwrap_or_default()),
        None => token.to_owned(),
    }
}

#[cfg(test)]
mod tests;
