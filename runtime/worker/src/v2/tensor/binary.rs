//! The binary form: little-endian, row-major; `BYTES` elements each preceded by their length.

use std::borrow::Cow;

use super::element::Element;
use super::{Tensor, for_elements};
use crate::defence::Defence;
use crate::v2::Datatype;

/// Bytes of the length that precedes each `BYTES` element.
const LENGTH_PREFIX_BYTES: usize = size_of::<u32>();

/// Why bytes are not the elements they should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BinaryError {
    #[error("{found} bytes, but {elements} elements of {datatype} take {expected}")]
    Size { datatype: Datatype, elements: usize, expected: usize, found: usize },
    #[error("a BOOL byte is neither 0 nor 1")]
    NotBool,
    #[error("the bytes end inside element {index} of {elements}")]
    Truncated { index: usize, elements: usize },
    #[error("{rest} bytes follow the last of {elements} elements")]
    Trailing { rest: usize, elements: usize },
    #[error("element {index} is not UTF-8, and ONNX strings are text")]
    NotUtf8 { index: usize },
    #[error("element {index} contains a NUL byte, which ONNX Runtime's strings cannot carry")]
    Nul { index: usize },
}

impl Tensor<'static> {
    /// Decodes `elements` elements that fill `bytes` exactly.
    ///
    /// # Errors
    /// Too few or too many bytes, or bytes that are no valid element.
    pub fn from_binary(datatype: Datatype, elements: usize, bytes: &[u8]) -> Result<Self, BinaryError> {
        if let Some(width) = datatype.width() {
            let expected = elements.saturating_mul(width);
            if bytes.len() != expected && Defence::SizesChecked.stands() {
                return Err(BinaryError::Size { datatype, elements, expected, found: bytes.len() });
            }
        }
        // The size fits, so only a BOOL can still be wrong.
        fn read<T: Element>(bytes: &[u8]) -> Result<Cow<'static, [T]>, BinaryError> {
            T::read_le(bytes).map(Cow::Owned).ok_or(BinaryError::NotBool)
        }
        Ok(match datatype {
            Datatype::Bool => Self::Bool(read(bytes)?),
            Datatype::Uint8 => Self::Uint8(read(bytes)?),
            Datatype::Uint16 => Self::Uint16(read(bytes)?),
            Datatype::Uint32 => Self::Uint32(read(bytes)?),
            Datatype::Uint64 => Self::Uint64(read(bytes)?),
            Datatype::Int8 => Self::Int8(read(bytes)?),
            Datatype::Int16 => Self::Int16(read(bytes)?),
            Datatype::Int32 => Self::Int32(read(bytes)?),
            Datatype::Int64 => Self::Int64(read(bytes)?),
            Datatype::Fp16 => Self::Fp16(read(bytes)?),
            Datatype::Bf16 => Self::Bf16(read(bytes)?),
            Datatype::Fp32 => Self::Fp32(read(bytes)?),
            Datatype::Fp64 => Self::Fp64(read(bytes)?),
            Datatype::Bytes => Self::Bytes(Cow::Owned(read_strings(elements, bytes)?)),
        })
    }

    /// One `BYTES` element that is the whole of `bytes`, without a length, as the raw form sends it.
    ///
    /// # Errors
    /// Bytes that are no text.
    pub fn from_single_string(bytes: &[u8]) -> Result<Self, BinaryError> {
        Ok(Self::Bytes(Cow::Owned(vec![text(0, bytes)?])))
    }
}

impl Tensor<'_> {
    /// How many bytes [`Self::write_binary`] appends.
    #[must_use]
    pub fn binary_size(&self) -> usize {
        for_elements!(self,
            values => size_of_val(values.as_ref()),
            bytes strings => strings.iter().map(|string| LENGTH_PREFIX_BYTES + string.len()).sum()
        )
    }

    /// Appends the binary form to `out`.
    pub fn write_binary(&self, out: &mut Vec<u8>) {
        for_elements!(self,
            values => Element::write_le(values, out),
            bytes strings => for string in strings.iter() {
                // Strings over 4 GiB cannot be framed; the length saturates rather than wraps.
                out.extend_from_slice(&u32::try_from(string.len()).unwrap_or(u32::MAX).to_le_bytes());
                out.extend_from_slice(string.as_bytes());
            }
        );
    }
}

fn read_strings(elements: usize, mut bytes: &[u8]) -> Result<Vec<String>, BinaryError> {
    // The count comes from the request, so it must not reserve more than the bytes at hand can hold.
    let mut strings = Vec::with_capacity(elements.min(bytes.len() / LENGTH_PREFIX_BYTES));
    for index in 0..elements {
        let truncated = BinaryError::Truncated { index, elements };
        let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_PREFIX_BYTES>() else { return Err(truncated) };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        let Some((element, rest)) = rest.split_at_checked(length) else { return Err(truncated) };
        strings.push(text(index, element)?);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(strings) } else { Err(BinaryError::Trailing { rest: bytes.len(), elements }) }
}

fn text(index: usize, bytes: &[u8]) -> Result<String, BinaryError> {
    let text = str::from_utf8(bytes).map_err(|_| BinaryError::NotUtf8 { index })?;
    if text.contains('\0') { Err(BinaryError::Nul { index }) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_numeric_type_round_trips() {
        let bytes: Vec<u8> = (0..48).map(|n| n % 2).collect();
        for datatype in Datatype::ALL {
            let Some(width) = datatype.width() else { continue };
            let tensor = Tensor::from_binary(datatype, bytes.len() / width, &bytes).unwrap();
            assert_eq!(tensor.datatype(), datatype);
            assert_eq!(tensor.binary_size(), bytes.len());
            let mut out = vec![0xff];
            tensor.write_binary(&mut out);
            assert_eq!(out.split_first().unwrap(), (&0xff, bytes.as_slice()), "{datatype}");
        }
    }

    #[test]
    fn is_little_endian() {
        assert_eq!(
            Tensor::from_binary(Datatype::Int32, 1, &[1, 2, 0, 0]).unwrap(),
            Tensor::Int32(Cow::Owned(vec![513]))
        );
    }

    #[test]
    fn strings_round_trip_and_are_bounded() {
        let tensor = Tensor::Bytes(Cow::Owned(vec![String::new(), "häm".into()]));
        let mut bytes = Vec::new();
        tensor.write_binary(&mut bytes);
        assert_eq!(bytes, b"\0\0\0\0\x04\0\0\0h\xc3\xa4m");
        assert_eq!(bytes.len(), tensor.binary_size());
        assert_eq!(Tensor::from_binary(Datatype::Bytes, 2, &bytes).unwrap(), tensor);

        let refused = |elements, bytes: &[u8]| Tensor::from_binary(Datatype::Bytes, elements, bytes).unwrap_err();
        assert_eq!(refused(2, &bytes[..11]), BinaryError::Truncated { index: 1, elements: 2 });
        assert_eq!(refused(usize::MAX, &bytes), BinaryError::Truncated { index: 2, elements: usize::MAX });
        assert_eq!(refused(1, &bytes), BinaryError::Trailing { rest: 8, elements: 1 });
        assert_eq!(refused(1, b"\xff\xff\xff\xff"), BinaryError::Truncated { index: 0, elements: 1 });
        assert_eq!(refused(1, b"\x01\0\0\0\xff"), BinaryError::NotUtf8 { index: 0 });
        assert_eq!(refused(1, b"\x01\0\0\0\0"), BinaryError::Nul { index: 0 });
    }

    #[test]
    fn wrong_sizes_and_bools_are_refused() {
        assert_eq!(
            Tensor::from_binary(Datatype::Fp32, 2, &[0; 7]).unwrap_err(),
            BinaryError::Size { datatype: Datatype::Fp32, elements: 2, expected: 8, found: 7 }
        );
        assert_eq!(Tensor::from_binary(Datatype::Bool, 1, &[2]).unwrap_err(), BinaryError::NotBool);
    }
}
