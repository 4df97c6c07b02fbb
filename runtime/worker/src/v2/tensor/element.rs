//! What the codecs need to know of each numeric element type.

use half::{bf16, f16};

/// A fixed-width element: little-endian on the wire, and (the half-precision types aside) a JSON token.
pub(super) trait Element: Copy + Sized {
    /// Decodes elements that follow each other; `None` if `bytes` is not a whole number of valid elements.
    fn read_le(bytes: &[u8]) -> Option<Vec<Self>>;
    /// Appends `values` to `out`.
    fn write_le(values: &[Self], out: &mut Vec<u8>);
}

/// An element that JSON can carry.
pub(super) trait JsonElement: Sized {
    /// What a JSON token has to be, for the error message.
    const EXPECTED: &'static str;
    /// Reads one complete JSON token that is not an array or object.
    fn from_token(token: &str) -> Option<Self>;
    /// Appends the shortest JSON text that reads back as the same value.
    fn write_json(&self, out: &mut Vec<u8>);
}

macro_rules! little_endian {
    ($($element:ty),*) => {$(
        impl Element for $element {
            fn read_le(bytes: &[u8]) -> Option<Vec<Self>> {
                let (chunks, rest) = bytes.as_chunks::<{ size_of::<$element>() }>();
                rest.is_empty().then(|| chunks.iter().map(|chunk| Self::from_le_bytes(*chunk)).collect())
            }
            fn write_le(values: &[Self], out: &mut Vec<u8>) {
                let start = out.len();
                out.resize(start + size_of_val(values), 0);
                let (_, tail) = out.split_at_mut(start);
                let (chunks, _) = tail.as_chunks_mut::<{ size_of::<$element>() }>();
                for (chunk, value) in chunks.iter_mut().zip(values) {
                    *chunk = value.to_le_bytes();
                }
            }
        }
    )*};
}
little_endian!(u8, u16, u32, u64, i8, i16, i32, i64, f16, bf16, f32, f64);

impl Element for bool {
    fn read_le(bytes: &[u8]) -> Option<Vec<Self>> {
        bytes
            .iter()
            .map(|byte| match byte {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            })
            .collect()
    }
    fn write_le(values: &[Self], out: &mut Vec<u8>) {
        out.extend(values.iter().map(|value| u8::from(*value)));
    }
}

impl JsonElement for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_token(token: &str) -> Option<Self> {
        token.parse().ok()
    }
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

macro_rules! json_integer {
    ($($element:ty),*) => {$(
        impl JsonElement for $element {
            const EXPECTED: &'static str = "an integer in range";
            fn from_token(token: &str) -> Option<Self> {
                token.parse().ok()
            }
            fn write_json(&self, out: &mut Vec<u8>) {
                write_number(self, out);
            }
        }
    )*};
}
json_integer!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! json_float {
    ($($element:ty),*) => {$(
        impl JsonElement for $element {
            const EXPECTED: &'static str = "a number in range";
            // Parsed at its own precision: going through f64 would round FP32 twice.
            fn from_token(token: &str) -> Option<Self> {
                token.parse().ok().filter(|value: &Self| value.is_finite())
            }
            // JSON has no word for these. The literals are what the field's servers write and its clients read;
            // null would lose the sign and the difference between the two.
            fn write_json(&self, out: &mut Vec<u8>) {
                if self.is_finite() {
                    write_number(self, out);
                } else if self.is_nan() {
                    out.extend_from_slice(b"NaN");
                } else {
                    out.extend_from_slice(if *self > 0.0 { b"Infinity" } else { b"-Infinity" });
                }
            }
        }
    )*};
}
json_float!(f32, f64);

/// Appends a number; writing to a `Vec` and serialising a finite number cannot fail.
fn write_number<T: serde::Serialize>(number: &T, out: &mut Vec<u8>) {
    let written = serde_json::to_writer(out, number);
    debug_assert!(written.is_ok());
}
