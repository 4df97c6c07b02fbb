//! What a model takes and gives, and whether a tensor fits it.

use super::{Datatype, Shape};

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub datatype: Datatype,
    /// Dimensions, outermost first; -1 where any size is accepted.
    pub dims: Vec<i64>,
}

/// The inputs and outputs of a model, in the model's own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

/// Why a tensor does not fit the input it was sent for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MismatchError {
    #[error("datatype is {found}, but the model takes {expected}")]
    Datatype { expected: Datatype, found: Datatype },
    #[error("shape {found:?} does not fit {expected:?}, which the model takes (-1 is any size)")]
    Shape { expected: Vec<i64>, found: Vec<i64> },
}

impl Signature {
    /// The position of the input called `name`.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|spec| spec.name == name)
    }

    /// The position of the output called `name`.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|spec| spec.name == name)
    }
}

impl TensorSpec {
    /// Checks a tensor's datatype and shape against this input.
    ///
    /// # Errors
    /// Another datatype, another number of dimensions, or another size of a fixed dimension.
    pub fn check(&self, datatype: Datatype, shape: &Shape) -> Result<(), MismatchError> {
        if datatype != self.datatype {
            return Err(MismatchError::Datatype { expected: self.datatype, found: datatype });
        }
        let fits = self.dims.len() == shape.dims().len()
            && self.dims.iter().zip(shape.dims()).all(|(expected, found)| *expected < 0 || expected == found);
        if fits {
            Ok(())
        } else {
            Err(MismatchError::Shape { expected: self.dims.clone(), found: shape.dims().to_vec() })
        }
    }
}

/// The names in `specs`, for error messages.
pub(super) fn names(specs: &[TensorSpec]) -> String {
    specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fixed_dimensions_bind_and_dynamic_ones_do_not() {
        let spec = TensorSpec { name: "x".into(), datatype: Datatype::Fp32, dims: vec![-1, 3] };
        let check = |datatype, dims: &[i64]| spec.check(datatype, &Shape::new(dims.to_vec()).unwrap());
        assert_eq!(check(Datatype::Fp32, &[7, 3]), Ok(()));
        assert_eq!(check(Datatype::Fp32, &[0, 3]), Ok(()));
        assert!(check(Datatype::Fp32, &[7, 4]).unwrap_err().to_string().contains("[7, 4] does not fit [-1, 3]"));
        assert!(check(Datatype::Fp32, &[3]).is_err());
        assert!(check(Datatype::Int32, &[7, 3]).unwrap_err().to_string().contains("INT32"));
    }
}
