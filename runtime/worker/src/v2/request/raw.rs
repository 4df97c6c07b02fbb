//! A body that is the bytes of the model's only input, with no JSON at all. The shape follows from the size.

use super::{InferRequest, InputTensor, RawProblem, every_output};
use crate::v2::{Datatype, Shape, Signature, Tensor, TensorSpec};

pub(super) fn decode(body: &[u8], signature: &Signature) -> Result<InferRequest, RawProblem> {
    let [input] = signature.inputs.as_slice() else {
        return Err(RawProblem::Inputs(signature.inputs.len()));
    };
    if input.dims.iter().filter(|dim| **dim < 0).count() > 1 {
        return Err(RawProblem::Dynamic);
    }
    let input = match input.datatype.width() {
        Some(width) => decode_fixed(body, input, width)?,
        None => decode_string(body, input)?,
    };
    Ok(InferRequest { id: None, inputs: vec![input], outputs: every_output(signature, true) })
}

fn decode_fixed(body: &[u8], input: &TensorSpec, width: usize) -> Result<InputTensor, RawProblem> {
    // A model may declare sizes whose product overflows; no body can fill such an input.
    let entry = input
        .dims
        .iter()
        .filter(|dim| **dim >= 0)
        .try_fold(width, |bytes, dim| bytes.checked_mul(usize::try_from(*dim).ok()?))
        .unwrap_or(usize::MAX);
    let wrong_size = || RawProblem::Size { input: input.name.clone(), unit: entry, found: body.len() };
    let free = body.len().checked_div(entry).unwrap_or(0);
    let fits = free.checked_mul(entry) == Some(body.len());
    if !fits || (!input.dims.contains(&-1) && body.len() != entry) {
        return Err(wrong_size());
    }
    let free = i64::try_from(free).map_err(|_| wrong_size())?;
    let shape = resolve(&input.dims, free).ok_or_else(wrong_size)?;
    let tensor = Tensor::from_binary(input.datatype, shape.elements(), body)?;
    Ok(InputTensor { shape, tensor })
}

fn decode_string(body: &[u8], input: &TensorSpec) -> Result<InputTensor, RawProblem> {
    debug_assert_eq!(input.datatype, Datatype::Bytes);
    if !matches!(input.dims.as_slice(), [-1 | 1]) {
        return Err(RawProblem::BytesShape);
    }
    let shape = resolve(&input.dims, 1).ok_or(RawProblem::BytesShape)?;
    Ok(InputTensor { shape, tensor: Tensor::from_single_string(body)? })
}

/// `dims` with `free` in place of the dimension of any size.
fn resolve(dims: &[i64], free: i64) -> Option<Shape> {
    Shape::new(dims.iter().map(|dim| if *dim < 0 { free } else { *dim }).collect()).ok()
}
