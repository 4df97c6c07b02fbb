use http_auth::{ChallengeRef, parse_challenges};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use super::Failure;

/// How a registry wants to be told who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The challenge of a 401: Bearer where a registry offers both, since a token is worth less to
    /// whoever gets hold of it than a password.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for challenge in parse_challenges(text).unwrap_or_default() {
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    return Self::bearer(&challenge);
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic.ok_or(Failure::Challenge { why: "its 401 offers neither Bearer nor Basic" })
    }

    fn bearer(challenge: &ChallengeRef<'_>) -> Result<Self, Failure> {
        let parameter = |name: &str| {
            let mut found = challenge.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.to_unescaped())
        };
        let realm = parameter("realm").ok_or(Failure::Challenge { why: "its Bearer challenge has no realm" })?;
        Ok(Self::Bearer { realm, service: parameter("service") })
    }
}

#[cfg(test)]
mod tests;
