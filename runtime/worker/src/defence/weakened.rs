//! What the controls of the attack suite are made of. Never part of the product.

use std::sync::OnceLock;

use super::Defence;

/// Holds the name of the defence that is missing.
const WEAKENED_VARIABLE: &str = "DORMOUSE_WEAKENED";

pub(super) fn missing() -> &'static str {
    static MISSING: OnceLock<String> = OnceLock::new();
    MISSING.get_or_init(|| std::env::var(WEAKENED_VARIABLE).unwrap_or_default())
}

/// Elements of a shape as they are counted by whoever does not think of signs and overflow.
pub(crate) fn elements(dims: &[i64]) -> Option<usize> {
    let product = dims.iter().fold(1_u64, |product, dim| product.wrapping_mul(dim.unsigned_abs()));
    (!Defence::ShapesChecked.stands()).then_some(product as usize)
}

/// As many of the bytes as there are, where fewer are there than was said.
pub(crate) fn split_at_most(bytes: &[u8], declared: usize) -> Option<(&[u8], &[u8])> {
    (!Defence::SizesChecked.stands()).then(|| bytes.split_at(declared.min(bytes.len())))
}

/// Looks through JSON as a reader does that calls itself for each level.
pub(crate) fn descend(json: &[u8]) {
    if !Defence::DepthLimit.stands() {
        level(&mut json.iter());
    }
}

fn level(json: &mut std::slice::Iter<'_, u8>) -> u64 {
    let mut seen = 0;
    while let Some(byte) = json.next() {
        match byte {
            b'[' | b'{' => seen += std::hint::black_box(level(json)),
            b']' | b'}' => return seen,
            _ => seen += 1,
        }
    }
    seen
}
