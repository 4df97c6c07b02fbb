//! One id a request: the client's where it sent a usable one, else one of ours.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ones would fill logs.
const CHARS_MAX: usize = 128;

/// Makes ids that are not repeated, by this process or by the one before it.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        // The seed of a hasher is the standard library's one source of random numbers.
        Self { process: RandomState::new().hash_one(std::process::id()), next: AtomicU64::new(1) }
    }

    pub(super) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        headers.get(HEADER).filter(|id| is_usable(id.as_bytes())).cloned().unwrap_or_else(|| self.generate())
    }

    fn generate(&self) -> HeaderValue {
        let id = format!("{:016x}{:08x}", self.process, self.next.fetch_add(1, Ordering::Relaxed));
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// What can stand in a log line and in JSON as it is.
fn is_usable(id: &[u8]) -> bool {
    let usable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=CHARS_MAX).contains(&id.len()) && id.iter().all(usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sent: &'static str) -> HeaderValue {
        let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_static(sent))]);
        RequestIds::new().of(&headers)
    }

    #[test]
    fn a_usable_id_is_kept() {
        assert_eq!(of("7f3a-42"), "7f3a-42");
    }

    #[test]
    fn ids_that_would_forge_or_fill_logs_are_replaced() {
        for sent in ["", "a b", "a\"b", "a\tb"] {
            assert_ne!(of(sent), sent);
        }
        let long = HeaderValue::from_bytes(&[b'a'; CHARS_MAX + 1]);
        let headers: HeaderMap = long.into_iter().map(|id| (HEADER, id)).collect();
        assert!(RequestIds::new().of(&headers).len() <= CHARS_MAX);
    }

    #[test]
    fn generated_ids_differ() {
        let ids = RequestIds::new();
        let none = HeaderMap::new();
        assert_ne!(ids.of(&none), ids.of(&none));
        assert_ne!(ids.of(&none), RequestIds::new().of(&none));
    }
}
