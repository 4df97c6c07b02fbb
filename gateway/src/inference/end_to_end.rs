//! What else passes between a client and an image. A model's worker is ours and needs none of it; what an image
//! speaks is between it and its clients, as far as one connection's affairs are not another's.

use http::{
    HeaderMap, HeaderValue, Request, Version,
    header::{CONNECTION, COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use http_body::Body;

/// Headers of one connection that are said anew on the other.
#[derive(Debug)]
pub(super) struct Kept {
    upgrade: Option<HeaderValue>,
    takes_trailers: bool,
    trailers: Vec<HeaderValue>,
}

impl Kept {
    pub(super) fn of_request<B: Body>(request: &Request<B>) -> Self {
        let headers = request.headers();
        Self { upgrade: asked_upgrade(request), takes_trailers: names(headers, TE, "trailers"), ..Self::said(headers) }
    }

    /// Of an answer that was asked for.
    pub(super) fn of_answer(headers: &HeaderMap, is_upgrade: bool) -> Self {
        let upgrade = headers.get(UPGRADE).filter(|_| is_upgrade).cloned();
        Self { upgrade, ..Self::said(headers) }
    }

    fn said(headers: &HeaderMap) -> Self {
        let trailers = headers.get_all(TRAILER).iter().cloned().collect();
        Self { upgrade: None, takes_trailers: false, trailers }
    }

    pub(super) fn asks_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    pub(super) fn put(self, headers: &mut HeaderMap) {
        if self.takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.append(CONNECTION, HeaderValue::from_static("te"));
        }
        for trailer in self.trailers {
            headers.append(TRAILER, trailer);
        }
        if let Some(upgrade) = self.upgrade {
            headers.insert(UPGRADE, upgrade);
            headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
        }
    }
}

/// What the connection is to become, where it can: HTTP/2 has other means, and a body would be in the way of
/// the first bytes. Another HTTP or TLS would only go round all that is done for requests here.
fn asked_upgrade<B: Body>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let is_asked = request.version() == Version::HTTP_11
        && names(headers, CONNECTION, "upgrade")
        && request.body().is_end_stream()
        && !["h2c", "http", "tls"].iter().any(|protocol| names(headers, UPGRADE, protocol));
    headers.get(UPGRADE).filter(|_| is_asked).cloned()
}

/// Whether a list names something, with a version or a weight or without.
fn names(headers: &HeaderMap, list: http::HeaderName, wanted: &str) -> bool {
    let lines = headers.get_all(list).into_iter().filter_map(|value| value.to_str().ok());
    let mut items = lines.flat_map(|line| line.split(','));
    items.any(|item| item.split(['/', ';']).next().is_some_and(|name| name.trim().eq_ignore_ascii_case(wanted)))
}

/// HTTP/2 sends cookies one by one, HTTP/1.1 all of them on one line (RFC 9113, 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&cookies.join(b"; ".as_slice()))
    {
        headers.insert(COOKIE, line);
    }
}

/// A body of unknown length is told, also with the methods that seldom have one.
pub(super) fn tell_body<B: Body>(request: &mut Request<B>) {
    let body = request.body();
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::{Empty, Full};

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<Empty<&'static [u8]>> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Empty::new()).unwrap()
    }

    fn upgrade(headers: &[(&str, &str)]) -> Option<HeaderValue> {
        asked_upgrade(&request(headers))
    }

    #[test]
    fn an_upgrade_is_one_where_the_connection_says_so() {
        assert_eq!(upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]).unwrap(), "websocket");
        assert_eq!(upgrade(&[("connection", "upgrade"), ("upgrade", "tcp")]).unwrap(), "tcp");
        assert_eq!(upgrade(&[("upgrade", "websocket")]), None);
        assert_eq!(upgrade(&[("connection", "upgrade")]), None);
    }

    #[test]
    fn no_other_http_is_upgraded_to() {
        for protocol in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0"] {
            assert_eq!(
                upgrade(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", protocol)]),
                None,
                "{protocol}"
            );
        }
    }

    #[test]
    fn neither_http_1_0_nor_2_nor_a_body_is_upgraded() {
        let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut request = request(&headers);
            *request.version_mut() = version;
            assert_eq!(asked_upgrade(&request), None);
        }
        assert_eq!(asked_upgrade(&request(&headers).map(|_| Full::new(b"body".as_slice()))), None);
    }

    #[test]
    fn what_is_kept_is_said_anew() {
        let asked = [
            ("connection", "te, upgrade, x-private"),
            ("te", "trailers, deflate;q=0.5"),
            ("trailer", "x-sum"),
            ("upgrade", "websocket"),
        ];
        let mut headers = HeaderMap::new();
        Kept::of_request(&request(&asked)).put(&mut headers);
        let connection: Vec<&HeaderValue> = headers.get_all(CONNECTION).iter().collect();
        assert_eq!(connection, ["te", "upgrade"]);
        assert_eq!(
            (&headers[TE], &headers[TRAILER], &headers[UPGRADE]),
            (
                &HeaderValue::from_static("trailers"),
                &HeaderValue::from_static("x-sum"),
                &HeaderValue::from_static("websocket")
            )
        );
        let mut none = HeaderMap::new();
        Kept::of_request(&request(&[("connection", "close")])).put(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn cookies_of_http_2_become_one_line() {
        let mut headers = request(&[("cookie", "a=1"), ("cookie", "b=2")]).headers().clone();
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
