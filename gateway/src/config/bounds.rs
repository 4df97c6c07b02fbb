//! Readers for values that have bounds, so that a value out of them is an error at its own line.

use std::{fmt::Display, path::PathBuf, time::Duration};

use dormouse_spec::{Bytes, parse_duration};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};

/// A value that the daemon works out for itself where it says `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auto<T> {
    Auto,
    Set(T),
}

impl<T> Auto<T> {
    pub(super) fn set(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Auto<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if value.as_str() == Some("auto") {
            return Ok(Self::Auto);
        }
        T::deserialize(value)
            .map(Self::Set)
            .map_err(|error| D::Error::custom(format_args!("{} (or \"auto\")", error.message())))
    }
}

/// One path, or several of which the first that exists is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SearchList(pub(super) Vec<PathBuf>);

impl<'de> Deserialize<'de> for SearchList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let paths: Result<Vec<PathBuf>, _> = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(path) => return Ok(Self(vec![path.into()])),
            value => value.try_into(),
        };
        match paths {
            Ok(paths) if !paths.is_empty() => Ok(Self(paths)),
            _ => Err(D::Error::custom("write one path in quotes, or a list of them")),
        }
    }
}

pub(super) fn integer<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(d: D) -> Result<u64, D::Error> {
    within(u64::deserialize(d)?, MIN, MAX, &MIN, &MAX)
}

/// Of a setting that is off where it is not written.
pub(super) fn some_percent<'de, D: Deserializer<'de>, const MIN: u8, const MAX: u8>(
    d: D,
) -> Result<Option<u8>, D::Error> {
    let percent = within(u64::deserialize(d)?, MIN.into(), MAX.into(), &MIN, &MAX)?;
    Ok(u8::try_from(percent).ok())
}

pub(super) fn bytes<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(d: D) -> Result<u64, D::Error> {
    within(Bytes::deserialize(d)?.get(), MIN, MAX, &Bytes::new(MIN), &Bytes::new(MAX))
}

pub(super) fn seconds<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(d: D) -> Result<Duration, D::Error> {
    let duration = duration(d)?;
    let (least, most) = (Duration::from_secs(MIN), Duration::from_secs(MAX));
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(D::Error::custom(format_args!("{duration:?} is out of bounds: it must be from {least:?} to {most:?}")))
}

pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(d)?).map_err(D::Error::custom)
}

fn within<E: Error>(value: u64, min: u64, max: u64, least: &dyn Display, most: &dyn Display) -> Result<u64, E> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(E::custom(format_args!("{value} is out of bounds: it must be from {least} to {most}")))
}
