//! Tensor values, typed, between the wire and ONNX Runtime.

mod binary;
mod element;
mod json;

use std::borrow::Cow;

use half::{bf16, f16};

use super::Datatype;

pub use binary::BinaryError;
pub use json::JsonDataError;

/// The elements of a tensor in row-major order. Inputs own theirs; outputs borrow ONNX Runtime's.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor<'a> {
    Bool(Cow<'a, [bool]>),
    Uint8(Cow<'a, [u8]>),
    Uint16(Cow<'a, [u16]>),
    Uint32(Cow<'a, [u32]>),
    Uint64(Cow<'a, [u64]>),
    Int8(Cow<'a, [i8]>),
    Int16(Cow<'a, [i16]>),
    Int32(Cow<'a, [i32]>),
    Int64(Cow<'a, [i64]>),
    Fp16(Cow<'a, [f16]>),
    Bf16(Cow<'a, [bf16]>),
    Fp32(Cow<'a, [f32]>),
    Fp64(Cow<'a, [f64]>),
    /// ONNX strings are text, so the elements of `BYTES` have to be UTF-8.
    Bytes(Cow<'a, [String]>),
}

/// Runs one expression for whichever numeric type a [`Tensor`] holds, and another for `BYTES`.
macro_rules! for_elements {
    ($tensor:expr, $values:ident => $numeric:expr, bytes $strings:ident => $text:expr) => {
        match $tensor {
            Tensor::Bool($values) => $numeric,
            Tensor::Uint8($values) => $numeric,
            Tensor::Uint16($values) => $numeric,
            Tensor::Uint32($values) => $numeric,
            Tensor::Uint64($values) => $numeric,
            Tensor::Int8($values) => $numeric,
            Tensor::Int16($values) => $numeric,
            Tensor::Int32($values) => $numeric,
            Tensor::Int64($values) => $numeric,
            Tensor::Fp16($values) => $numeric,
            Tensor::Bf16($values) => $numeric,
            Tensor::Fp32($values) => $numeric,
            Tensor::Fp64($values) => $numeric,
            Tensor::Bytes($strings) => $text,
        }
    };
}
pub(crate) use for_elements;

impl Tensor<'_> {
    /// The datatype of the elements.
    #[must_use]
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::Bool(_) => Datatype::Bool,
            Self::Uint8(_) => Datatype::Uint8,
            Self::Uint16(_) => Datatype::Uint16,
            Self::Uint32(_) => Datatype::Uint32,
            Self::Uint64(_) => Datatype::Uint64,
            Self::Int8(_) => Datatype::Int8,
            Self::Int16(_) => Datatype::Int16,
            Self::Int32(_) => Datatype::Int32,
            Self::Int64(_) => Datatype::Int64,
            Self::Fp16(_) => Datatype::Fp16,
            Self::Bf16(_) => Datatype::Bf16,
            Self::Fp32(_) => Datatype::Fp32,
            Self::Fp64(_) => Datatype::Fp64,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }
}
