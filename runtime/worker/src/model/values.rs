//! Tensors in and out of ONNX Runtime, without copying numbers.

use std::borrow::Cow;
use std::fmt::Debug;

use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor as OrtTensor, TensorElementType};

use crate::v2::{Datatype, Shape, Tensor};

/// The V2 datatype of an element type, or `None` where the protocol has none.
pub(super) fn datatype(element: TensorElementType) -> Option<Datatype> {
    Some(match element {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Bfloat16 => Datatype::Bf16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// Hands a tensor to ONNX Runtime. Numbers stay where they are; strings are copied.
pub(super) fn from_tensor<'v>(tensor: Tensor<'static>, shape: &Shape) -> Result<SessionInputValue<'v>, ort::Error> {
    fn numeric<'v, T: PrimitiveTensorElementType + Debug + Clone + 'static>(
        values: Cow<'static, [T]>,
        shape: &Shape,
    ) -> Result<SessionInputValue<'v>, ort::Error> {
        Ok(OrtTensor::from_array((shape.dims(), values.into_owned()))?.into())
    }
    match tensor {
        Tensor::Bool(values) => numeric(values, shape),
        Tensor::Uint8(values) => numeric(values, shape),
        Tensor::Uint16(values) => numeric(values, shape),
        Tensor::Uint32(values) => numeric(values, shape),
        Tensor::Uint64(values) => numeric(values, shape),
        Tensor::Int8(values) => numeric(values, shape),
        Tensor::Int16(values) => numeric(values, shape),
        Tensor::Int32(values) => numeric(values, shape),
        Tensor::Int64(values) => numeric(values, shape),
        Tensor::Fp16(values) => numeric(values, shape),
        Tensor::Bf16(values) => numeric(values, shape),
        Tensor::Fp32(values) => numeric(values, shape),
        Tensor::Fp64(values) => numeric(values, shape),
        Tensor::Bytes(strings) => Ok(OrtTensor::from_string_array((shape.dims(), strings.as_ref()))?.into()),
    }
}

/// The shape and elements of a value, or `None` if it is no tensor the protocol can carry.
pub(super) fn to_tensor(value: &DynValue) -> Result<Option<(Vec<i64>, Tensor<'_>)>, ort::Error> {
    fn numeric<T: PrimitiveTensorElementType + Clone>(value: &DynValue) -> Result<Cow<'_, [T]>, ort::Error> {
        let (_, elements) = value.try_extract_tensor::<T>()?;
        Ok(Cow::Borrowed(elements))
    }
    let Some((shape, datatype)) = value.dtype().tensor_shape().zip(value.dtype().tensor_type().and_then(datatype))
    else {
        return Ok(None);
    };
    let tensor = match datatype {
        Datatype::Bool => Tensor::Bool(numeric(value)?),
        Datatype::Uint8 => Tensor::Uint8(numeric(value)?),
        Datatype::Uint16 => Tensor::Uint16(numeric(value)?),
        Datatype::Uint32 => Tensor::Uint32(numeric(value)?),
        Datatype::Uint64 => Tensor::Uint64(numeric(value)?),
        Datatype::Int8 => Tensor::Int8(numeric(value)?),
        Datatype::Int16 => Tensor::Int16(numeric(value)?),
        Datatype::Int32 => Tensor::Int32(numeric(value)?),
        Datatype::Int64 => Tensor::Int64(numeric(value)?),
        Datatype::Fp16 => Tensor::Fp16(numeric(value)?),
        Datatype::Bf16 => Tensor::Bf16(numeric(value)?),
        Datatype::Fp32 => Tensor::Fp32(numeric(value)?),
        Datatype::Fp64 => Tensor::Fp64(numeric(value)?),
        Datatype::Bytes => Tensor::Bytes(Cow::Owned(value.try_extract_strings()?.1)),
    };
    Ok(Some((shape.to_vec(), tensor)))
}
