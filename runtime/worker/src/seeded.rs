//! Inputs that follow from a model's signature alone: the same for the same names, shapes and types.

use half::{bf16, f16};

use crate::v2::request::{InputTensor, RequestedOutput};
use crate::v2::{Datatype, InferRequest, Shape, Signature, Tensor, TensorSpec};

/// What a dimension of any size is tried with, in turn; the first of several is 1, since it most often counts what is
/// asked at once. Many models take only some lengths, and a long input says more than a short one.
const SIZES: [i64; 9] = [256, 64, 512, 16, 8, 4, 3, 2, 1];

/// Most elements of all inputs together: what a preparation may take of memory for a question.
const ELEMENTS_MAX: usize = 1 << 20;

/// Requests that a model with this signature might answer. There may be none.
pub(crate) fn requests(signature: &Signature) -> impl Iterator<Item = InferRequest> {
    // Where no size is open there is one request, whatever the size.
    let is_dynamic = signature.inputs.iter().any(|input| input.dims.iter().any(|dim| *dim < 0));
    let sizes = SIZES.get(if is_dynamic { 0..SIZES.len() } else { 0..1 }).unwrap_or_default();
    sizes.iter().filter_map(|size| request(signature, *size))
}

fn request(signature: &Signature, size: i64) -> Option<InferRequest> {
    let mut elements = 0_usize;
    let mut inputs = Vec::with_capacity(signature.inputs.len());
    for spec in &signature.inputs {
        let shape = shape(spec, size)?;
        elements = elements.checked_add(shape.elements()).filter(|elements| *elements <= ELEMENTS_MAX)?;
        let tensor = tensor(spec, &shape);
        inputs.push(InputTensor { shape, tensor });
    }
    let outputs = (0..signature.outputs.len()).map(|index| RequestedOutput { index, binary: true }).collect();
    Some(InferRequest { id: None, inputs, outputs })
}

fn shape(spec: &TensorSpec, size: i64) -> Option<Shape> {
    let has_batch = spec.dims.len() > 1;
    let mut dynamic = has_batch.then_some(1).into_iter().chain(std::iter::repeat(size));
    let dims = spec.dims.iter().map(|dim| if *dim < 0 { dynamic.next().unwrap_or(size) } else { *dim });
    Shape::new(dims.collect()).ok()
}

/// Numbers are small, so that most of them are an index that a table has.
fn tensor(spec: &TensorSpec, shape: &Shape) -> Tensor<'static> {
    let mut random = Random::of(&spec.name);
    let mut integers = std::iter::repeat_with(|| random.next() & 1 == 1);
    fn take<T: From<bool>>(integers: &mut impl Iterator<Item = bool>, count: usize) -> Vec<T> {
        integers.take(count).map(T::from).collect()
    }
    let count = shape.elements();
    match spec.datatype {
        Datatype::Bool => Tensor::Bool(take(&mut integers, count).into()),
        Datatype::Uint8 => Tensor::Uint8(take(&mut integers, count).into()),
        Datatype::Uint16 => Tensor::Uint16(take(&mut integers, count).into()),
        Datatype::Uint32 => Tensor::Uint32(take(&mut integers, count).into()),
        Datatype::Uint64 => Tensor::Uint64(take(&mut integers, count).into()),
        Datatype::Int8 => Tensor::Int8(take(&mut integers, count).into()),
        Datatype::Int16 => Tensor::Int16(take(&mut integers, count).into()),
        Datatype::Int32 => Tensor::Int32(take(&mut integers, count).into()),
        Datatype::Int64 => Tensor::Int64(take(&mut integers, count).into()),
        Datatype::Fp16 => Tensor::Fp16(random.fractions(count).map(f16::from_f32).collect()),
        Datatype::Bf16 => Tensor::Bf16(random.fractions(count).map(bf16::from_f32).collect()),
        Datatype::Fp32 => Tensor::Fp32(random.fractions(count).collect()),
        Datatype::Fp64 => Tensor::Fp64(random.fractions(count).map(f64::from).collect()),
        Datatype::Bytes => Tensor::Bytes(integers.take(count).map(|one| u8::from(one).to_string()).collect()),
    }
}

/// SplitMix64, begun from a name.
struct Random(u64);

impl Random {
    fn of(name: &str) -> Self {
        // FNV-1a.
        Self(
            name.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [-1, 1).
    fn fractions(&mut self, count: usize) -> impl Iterator<Item = f32> {
        // 24 bits are exact in an f32.
        (0..count).map(|_| (self.next() >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn input(name: &str, datatype: Datatype, dims: &[i64]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), datatype, dims: dims.to_vec() }
    }

    fn signature(inputs: Vec<TensorSpec>) -> Signature {
        let outputs = vec![input("y", Datatype::Fp32, &[-1])];
        Signature { inputs, outputs }
    }

    #[test]
    fn every_datatype_has_values_that_fit_and_are_the_same_each_time() {
        for datatype in Datatype::ALL {
            let signature = signature(vec![input("x", datatype, &[2, -1, -1])]);
            let all: Vec<_> = requests(&signature).collect();
            assert_eq!(all.len(), SIZES.len());
            for request in &all {
                let InputTensor { shape, tensor } = &request.inputs[0];
                signature.inputs[0].check(tensor.datatype(), shape).unwrap();
                assert_eq!(shape.dims()[1], 1);
            }
            assert!(all.iter().eq(requests(&signature).collect::<Vec<_>>().iter()));
        }
    }

    #[test]
    fn numbers_are_small_and_differ() {
        let signature = signature(vec![input("x", Datatype::Fp32, &[1000]), input("i", Datatype::Int64, &[1000])]);
        let request = requests(&signature).next().unwrap();
        let (Tensor::Fp32(fractions), Tensor::Int64(integers)) = (&request.inputs[0].tensor, &request.inputs[1].tensor)
        else {
            panic!("other types")
        };
        assert!(fractions.iter().all(|it| (-1.0..1.0).contains(it)) && fractions.iter().any(|it| *it > 0.5));
        assert!(integers.contains(&0) && integers.contains(&1) && integers.iter().all(|it| (0..=1).contains(it)));
    }

    #[test]
    fn what_is_too_large_is_not_asked() {
        assert_eq!(requests(&signature(vec![input("x", Datatype::Int8, &[1 << 40])])).count(), 0);
        // Only the smaller sizes of three such dimensions are.
        let signature = signature(vec![input("x", Datatype::Int8, &[-1, -1, -1, -1])]);
        let largest = requests(&signature);
        assert!(largest.map(|request| request.inputs[0].shape.elements()).max().unwrap() <= ELEMENTS_MAX);
    }
}
