//! What the controls of the attack suite are made of. Never part of the product.

use std::sync::OnceLock;

use super::Defence;

/// Holds the name of the defence that is missing, or names with commas between them.
const WEAKENED_VARIABLE: &str = "DORMOUSE_WEAKENED";

/// What a server does that an attacker has taken over.
static DEEDS: OnceLock<fn(&str) -> String> = OnceLock::new();
/// The header of a request that names the deed.
const DEED_HEADER: &str = "deed";

pub(super) fn is_missing(defence: &str) -> bool {
    static MISSING: OnceLock<String> = OnceLock::new();
    let missing = MISSING.get_or_init(|| std::env::var(WEAKENED_VARIABLE).unwrap_or_default());
    missing.split(',').any(|missing| missing == defence)
}

/// From now on a request that names a deed is answered with what came of it.
pub fn take_over(deeds: fn(&str) -> String) {
    DEEDS.get_or_init(|| deeds);
}

/// Done by the thread that reads requests, as whatever a request could make of it.
pub(crate) fn deed(headers: &http::HeaderMap) -> Option<String> {
    let deed = headers.get(DEED_HEADER)?.to_str().ok()?;
    DEEDS.get().map(|deeds| deeds(deed))
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
