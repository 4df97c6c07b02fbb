//! The request that a deploy brings to have its model verified on.

use std::{fs::File, io::Read, os::fd::OwnedFd};

use dormouse_spec::{Bytes, Digest};
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

/// The largest sample. It is kept with the endpoint, for when its model is prepared again.
pub const SAMPLE_BYTES_MAX: Bytes = Bytes::from_mebibytes(4);

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SampleError {
    #[error("the sample is no regular file")]
    NotRegular,
    #[error("the sample is larger than {SAMPLE_BYTES_MAX}")]
    TooLarge,
    #[error("the sample is empty: it is to be a V2 inference request as JSON")]
    Empty,
    #[error("the sample is no text: it is to be a V2 inference request as JSON")]
    NotText(#[source] std::str::Utf8Error),
    #[error("reading the sample failed")]
    Read(#[source] std::io::Error),
}

/// A V2 inference request as JSON; whether it is one is seen by the worker alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample(String);

impl Sample {
    /// Reads it from where it begins. Blocks.
    pub(crate) fn read(file: OwnedFd) -> Result<Self, SampleError> {
        let stat = rustix::fs::fstat(&file).map_err(|error| SampleError::Read(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SampleError::NotRegular);
        }
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).map_err(|error| SampleError::Read(error.into()))?;
        let mut bytes = Vec::new();
        let limit = SAMPLE_BYTES_MAX.get();
        File::from(file).take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(SampleError::Read)?;
        if bytes.len() as u64 > limit {
            return Err(SampleError::TooLarge);
        }
        if bytes.is_empty() {
            return Err(SampleError::Empty);
        }
        String::from_utf8(bytes).map(Self).map_err(|error| SampleError::NotText(error.utf8_error()))
    }

    /// One that was read before.
    pub(crate) fn kept(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::from_sha256(Sha256::digest(&self.0).into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.into()
    }

    #[test]
    fn a_sample_is_a_text_of_bounded_length() {
        assert_eq!(Sample::read(file(b"{}")).unwrap().text(), "{}");
        let most = vec![b' '; usize::try_from(SAMPLE_BYTES_MAX.get()).unwrap()];
        assert!(Sample::read(file(&most)).is_ok());
        assert!(matches!(Sample::read(file(&[&most[..], b" "].concat())), Err(SampleError::TooLarge)));
        assert!(matches!(Sample::read(file(b"")), Err(SampleError::Empty)));
        assert!(matches!(Sample::read(file(b"\xff")), Err(SampleError::NotText(_))));
        assert!(matches!(Sample::read(std::io::pipe().unwrap().0.into()), Err(SampleError::NotRegular)));
    }
}
