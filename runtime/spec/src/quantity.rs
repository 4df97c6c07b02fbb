use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A share of processors in thousandths of one, as Kubernetes writes it: `1`, `0.5`, `500m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "String")]
pub struct MilliCpu(u32);

/// A number of bytes, as Kubernetes writes it: `1073741824`, `1Gi`, `500M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "String")]
pub struct Bytes(u64);

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("`{0}` is not a cpu quantity: write `2`, `0.5` or `500m`, from 1m to 4194304")]
    Cpu(String),
    #[error("`{0}` is not a memory quantity: write `512Mi`, `1Gi`, `500M` or a number of bytes")]
    Bytes(String),
}

/// Manifests and settings write quantities with and without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Integer(u64),
    Float(f64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl MilliCpu {
    /// # Panics
    /// Never: it is `const` so that defaults are checked when the program is compiled.
    #[must_use]
    pub const fn from_milli(milli: u32) -> Self {
        Self(milli)
    }

    /// All of so many processors, at least one.
    #[must_use]
    pub fn from_processors(count: u32) -> Self {
        Self(count.max(1).saturating_mul(1000))
    }

    #[must_use]
    pub const fn milli(self) -> u32 {
        self.0
    }

    /// Whole processors, at least one: how many threads can really run at once.
    #[must_use]
    pub fn threads(self) -> u32 {
        (self.0 / 1000).max(1)
    }
}

impl Bytes {
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn from_mebibytes(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl FromStr for MilliCpu {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let milli = match text.strip_suffix('m') {
            Some(number) => decimal(number, 1),
            None => decimal(text, 1000),
        };
        match milli.map(u32::try_from) {
            Some(Ok(milli)) if milli > 0 => Ok(Self(milli)),
            _ => Err(QuantityError::Cpu(text.to_owned())),
        }
    }
}

/// Longest first, so that `Ki` is not taken for a number that ends in `i`.
const BYTE_SUFFIXES: [(&str, u64); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        BYTE_SUFFIXES
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .and_then(|(number, unit)| decimal(number, unit))
            .map(Self)
            .ok_or_else(|| QuantityError::Bytes(text.to_owned()))
    }
}

/// `number` × `unit` in whole units, rounded up as Kubernetes rounds; None where it is no plain
/// decimal or does not fit.
fn decimal(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = u128::from(whole) * u128::from(unit);
    // Nine digits after the point are finer than any unit that is kept.
    let fraction = fraction.get(..9).unwrap_or(fraction);
    if !fraction.is_empty() {
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        value += (u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit)).div_ceil(scale);
    }
    u64::try_from(value).ok()
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, unit) in [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
            if self.0 > 0 && self.0.is_multiple_of(unit) {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

macro_rules! scalar_conversions {
    ($type:ty) => {
        impl TryFrom<Scalar> for $type {
            type Error = QuantityError;

            fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
                scalar.to_string().parse()
            }
        }

        impl From<$type> for String {
            fn from(quantity: $type) -> Self {
                quantity.to_string()
            }
        }
    };
}

scalar_conversions!(MilliCpu);
scalar_conversions!(Bytes);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cpu_is_read_as_kubernetes_writes_it() {
        for (text, milli) in [("1", 1000), ("0.5", 500), ("500m", 500), ("2.5", 2500), (".1", 100), ("0.0001", 1)] {
            assert_eq!(text.parse::<MilliCpu>().unwrap().milli(), milli, "{text}");
        }
        for text in ["", "0", "-1", "1k", "m", ".", "1e3", "99999999999"] {
            assert!(text.parse::<MilliCpu>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_read_as_kubernetes_writes_them() {
        for (text, bytes) in [("1Ki", 1024), ("1.5Gi", 3 << 29), ("500M", 500_000_000), ("12", 12), ("1k", 1000)] {
            assert_eq!(text.parse::<Bytes>().unwrap().get(), bytes, "{text}");
        }
        for text in ["", "Mi", "-1Mi", "1KiB", "1 Gi", "99999999Ei", "0x10"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_quantity_reads_back_what_it_prints() {
        for bytes in [0, 1, 1023, 1 << 20, 3 << 29, u64::MAX] {
            assert_eq!(Bytes::new(bytes).to_string().parse(), Ok(Bytes::new(bytes)));
        }
        for milli in [1, 500, 1000, 1500] {
            assert_eq!(MilliCpu::from_milli(milli).to_string().parse(), Ok(MilliCpu::from_milli(milli)));
        }
    }
}
