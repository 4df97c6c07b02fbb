use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::Failure;

/// A header that lets a request in, for as long as it does.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    header: HeaderValue,
    expires: Option<Instant>,
}

impl Authorization {
    pub(super) fn until(header: HeaderValue, expires: Instant) -> Self {
        Self { header, expires: Some(expires) }
    }

    pub(super) fn always(header: HeaderValue) -> Self {
        Self { header, expires: None }
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, Failure> {
    header(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

/// A header that no log shows.
pub(super) fn header(text: &str) -> Result<HeaderValue, Failure> {
    let mut header = HeaderValue::from_str(text).map_err(|_| Failure::TokenCharacters)?;
    header.set_sensitive(true);
    Ok(header)
}
