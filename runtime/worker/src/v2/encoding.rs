//! Content codings of bodies: gzip and deflate, both ways.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

/// A content coding the worker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
    /// The zlib format, as HTTP defines `deflate`.
    Deflate,
}

/// Why a body could not be decoded, or the answer not encoded as asked.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    #[error("Content-Encoding '{0}' is not supported: use gzip, deflate or identity")]
    Unsupported(String),
    #[error("Accept-Encoding '{0}' allows none of gzip, deflate and identity")]
    NotAcceptable(String),
    #[error("the body is not valid {coding}")]
    Corrupt {
        coding: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the inflated body is over the limit of {limit} bytes (body_bytes_max)")]
    TooLarge { limit: usize },
    #[error("the answer could not be compressed")]
    Compress(#[source] io::Error),
}

impl Coding {
    /// The value of a `Content-Encoding` header.
    ///
    /// # Errors
    /// A coding that is unknown, or several in a row.
    pub fn from_content_encoding(value: &str) -> Result<Self, EncodingError> {
        Self::from_name(value.trim()).ok_or_else(|| EncodingError::Unsupported(value.to_owned()))
    }

    /// The coding an `Accept-Encoding` header likes best; on a tie gzip, then deflate, then none.
    ///
    /// # Errors
    /// A header that excludes all of them.
    pub fn from_accept_encoding(value: &str) -> Result<Self, EncodingError> {
        let preferences: Vec<(&str, u16)> = value.split(',').filter_map(preference).collect();
        let weight = |coding: Self| {
            let exact = preferences.iter().find(|(name, _)| Self::from_name(name) == Some(coding));
            let any = || preferences.iter().find(|(name, _)| *name == "*");
            exact.or_else(any).map(|(_, weight)| *weight)
        };
        // What is not mentioned is not wanted, but leaving the body alone is always allowed unless excluded.
        let identity = weight(Self::Identity).unwrap_or(1);
        let candidates = [
            (Self::Gzip, weight(Self::Gzip).unwrap_or(0)),
            (Self::Deflate, weight(Self::Deflate).unwrap_or(0)),
            (Self::Identity, identity),
        ];
        let mut best: Option<(Self, u16)> = None;
        for (coding, weight) in candidates {
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding).ok_or_else(|| EncodingError::NotAcceptable(value.to_owned()))
    }

    /// The header value, or `None` where none is sent.
    #[must_use]
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        const NAMES: [(&str, Coding); 5] = [
            ("", Coding::Identity),
            ("identity", Coding::Identity),
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, coding)| *coding)
    }

    /// Decodes `body`; `None` if there is nothing to undo.
    ///
    /// # Errors
    /// Data that is corrupt, incomplete or followed by something else, or inflates to more than `limit` bytes.
    pub fn decode(self, body: &[u8], limit: usize) -> Result<Option<Vec<u8>>, EncodingError> {
        match self {
            Self::Identity => Ok(None),
            Self::Gzip => inflate("gzip", &mut MultiGzDecoder::new(body), limit).map(Some),
            Self::Deflate => {
                let mut decoder = ZlibDecoder::new(body);
                let inflated = inflate("deflate", &mut decoder, limit)?;
                if decoder.into_inner().is_empty() {
                    Ok(Some(inflated))
                } else {
                    let source = io::Error::new(io::ErrorKind::InvalidData, "bytes follow the end of the stream");
                    Err(EncodingError::Corrupt { coding: "deflate", source })
                }
            }
        }
    }

    /// Encodes `body`, quickly rather than tightly: the link is local and the CPU is the model's.
    ///
    /// # Errors
    /// None in practice: the sink is memory.
    pub fn encode(self, body: Vec<u8>) -> Result<Vec<u8>, EncodingError> {
        let encoded = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&body).and_then(|()| encoder.finish())
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&body).and_then(|()| encoder.finish())
            }
        };
        encoded.map_err(EncodingError::Compress)
    }
}

fn inflate(coding: &'static str, decoder: &mut dyn Read, limit: usize) -> Result<Vec<u8>, EncodingError> {
    // One byte more than allowed tells a body at the limit from one over it.
    let readable = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut inflated = Vec::new();
    decoder.take(readable).read_to_end(&mut inflated).map_err(|source| EncodingError::Corrupt { coding, source })?;
    if inflated.len() > limit { Err(EncodingError::TooLarge { limit }) } else { Ok(inflated) }
}

/// One entry of `Accept-Encoding`: its name and its weight in thousandths.
fn preference(entry: &str) -> Option<(&str, u16)> {
    let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    let quality = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim())));
    Some((name, quality.unwrap_or(1000)))
}

/// A quality such as `0.75`; what is no quality counts as not wanted.
fn thousandths(quality: &str) -> u16 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let fraction = fraction.get(..3).unwrap_or(fraction);
    match (whole, format!("{fraction:0<3}").parse()) {
        ("1", _) => 1000,
        ("0", Ok(fraction)) => fraction,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bodies_round_trip() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            let body = b"tensor ".repeat(1000);
            let encoded = coding.encode(body.clone()).unwrap();
            assert!(encoded.len() < body.len() / 10);
            assert_eq!(coding.decode(&encoded, body.len()).unwrap().unwrap(), body);
            let too_large = coding.decode(&encoded, body.len() - 1).unwrap_err();
            assert!(matches!(too_large, EncodingError::TooLarge { limit: 6999 }));
            for broken in [&encoded[..encoded.len() - 1], &[&encoded, &b"!"[..]].concat(), b"nonsense", b""] {
                assert!(matches!(coding.decode(broken, 10_000), Err(EncodingError::Corrupt { .. })), "{coding:?}");
            }
        }
    }

    #[test]
    fn content_encodings() {
        assert_eq!(Coding::from_content_encoding(" GZip").unwrap(), Coding::Gzip);
        assert_eq!(Coding::from_content_encoding("identity").unwrap(), Coding::Identity);
        for unknown in ["br", "gzip, gzip", "zstd"] {
            assert!(Coding::from_content_encoding(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn accepted_encodings() {
        for (header, expected) in [
            ("", Coding::Identity),
            ("gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("deflate, gzip", Coding::Gzip),
            ("gzip;q=0.5, deflate;q=0.75", Coding::Deflate),
            ("gzip;q=0.5, identity", Coding::Identity),
            ("gzip; q=0, br", Coding::Identity),
            ("*", Coding::Gzip),
            ("*;q=0, identity;q=0.001", Coding::Identity),
            ("gzip;q=0, *", Coding::Deflate),
            ("gzip;q=nonsense", Coding::Identity),
            (" ,, gzip ;Q=1.000", Coding::Gzip),
        ] {
            assert_eq!(Coding::from_accept_encoding(header).unwrap(), expected, "{header}");
        }
        assert!(Coding::from_accept_encoding("br, identity;q=0").is_err());
        assert!(Coding::from_accept_encoding("*;q=0").is_err());
    }
}
