//! The shape of an actual tensor: every dimension known, the element count known to fit.

/// Most dimensions a tensor may have.
pub const RANK_MAX: usize = 32;

/// Why a list of numbers is not a shape.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShapeError {
    #[error("dimension {index} is {dim}: dimensions cannot be negative")]
    Negative { index: usize, dim: i64 },
    #[error("{rank} dimensions are more than the limit of {RANK_MAX}")]
    Rank { rank: usize },
    #[error("the number of elements overflows")]
    Overflow,
}

/// Non-negative dimensions whose product fits in memory arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    dims: Vec<i64>,
    elements: usize,
}

impl Shape {
    /// The widest element, in bytes; the byte size of any shape is checked against overflow with it.
    const ELEMENT_BYTES_MAX: i64 = 8;

    /// Checks `dims`, as they stand in a request.
    ///
    /// # Errors
    /// A negative dimension, too many of them, or an element count that overflows.
    pub fn new(dims: Vec<i64>) -> Result<Self, ShapeError> {
        #[cfg(weakened)]
        if let Some(elements) = crate::defence::weakened::elements(&dims) {
            return Ok(Self { elements, dims });
        }
        if dims.len() > RANK_MAX {
            return Err(ShapeError::Rank { rank: dims.len() });
        }
        if let Some((index, &dim)) = dims.iter().enumerate().find(|(_, dim)| **dim < 0) {
            return Err(ShapeError::Negative { index, dim });
        }
        // Zero dimensions are left out of the product: ONNX Runtime multiplies in order, so [2^40, 2^40, 0] would
        // overflow there although it has no elements.
        let product = dims
            .iter()
            .filter(|dim| **dim != 0)
            .try_fold(Self::ELEMENT_BYTES_MAX, |product, dim| product.checked_mul(*dim))
            .ok_or(ShapeError::Overflow)?;
        let elements = if dims.contains(&0) { 0 } else { product / Self::ELEMENT_BYTES_MAX };
        Ok(Self { elements: usize::try_from(elements).map_err(|_| ShapeError::Overflow)?, dims })
    }

    /// The dimensions, outermost first; empty for a scalar.
    #[must_use]
    pub fn dims(&self) -> &[i64] {
        &self.dims
    }

    /// How many elements a tensor of this shape has; 1 for a scalar.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.elements
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_elements() {
        assert_eq!(Shape::new(vec![]).unwrap().elements(), 1);
        assert_eq!(Shape::new(vec![2, 3]).unwrap().elements(), 6);
        assert_eq!(Shape::new(vec![2, 0, 3]).unwrap().elements(), 0);
    }

    #[test]
    fn refuses_what_is_no_shape() {
        assert_eq!(Shape::new(vec![1, -1]), Err(ShapeError::Negative { index: 1, dim: -1 }));
        assert_eq!(Shape::new(vec![1 << 40, 1 << 40]), Err(ShapeError::Overflow));
        assert_eq!(Shape::new(vec![0, 1 << 40, 1 << 40]), Err(ShapeError::Overflow));
        assert_eq!(Shape::new(vec![i64::MAX]), Err(ShapeError::Overflow), "8 bytes each do not fit");
        assert_eq!(Shape::new(vec![1; RANK_MAX + 1]), Err(ShapeError::Rank { rank: 33 }));
    }
}
