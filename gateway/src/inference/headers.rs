//! Which headers pass between a client and a replica.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{self, CONNECTION, CONTENT_LENGTH, EXPECT, HOST},
};

use super::{end_to_end, forwarded, request_id};

/// About one connection, so never passed on to another (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The host a request is for. That in its target goes before the header's (RFC 9112, 3.2.2).
pub(super) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    authority(uri).or_else(|| headers.get(HOST)?.to_str().ok())
}

/// Without a user, who is told to nobody.
fn authority(uri: &Uri) -> Option<&str> {
    let authority = uri.authority()?.as_str();
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// A client's headers as its replica gets them.
pub(super) fn to_replica(headers: &mut HeaderMap, uri: &Uri, client: IpAddr, request_id: &HeaderValue) {
    let of_target = authority(uri).and_then(|host| HeaderValue::from_str(host).ok());
    let host = of_target.or_else(|| headers.get(HOST).cloned()).unwrap_or(HeaderValue::from_static(""));
    strip_hop_by_hop(headers);
    // Answered by this server, when the body is first read.
    headers.remove(EXPECT);
    // Told again from the body itself: a length that disagrees with it must not reach a second parser.
    headers.remove(CONTENT_LENGTH);
    // One only, so that nobody reads another than was read here.
    headers.insert(HOST, host.clone());
    headers.entry(FORWARDED_HOST).or_insert(host);
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Ok(client) = HeaderValue::try_from(client.to_canonical().to_string()) {
        headers.append(FORWARDED_FOR, client);
    }
    headers.insert(request_id::HEADER, request_id.clone());
}

/// What an image's server gets of them besides, or otherwise.
pub(super) fn to_image(headers: &mut HeaderMap, client: IpAddr) {
    forwarded::append(headers, client);
    end_to_end::join_cookies(headers);
}

/// A replica's headers as the client gets them.
pub(super) fn to_client(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    headers.remove(request_id::HEADER);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    fn forwarded(pairs: &[(&str, &str)], uri: &str) -> HeaderMap {
        let mut headers = headers(pairs);
        let id = HeaderValue::from_static("id-1");
        to_replica(&mut headers, &uri.parse().unwrap(), "::ffff:10.0.0.7".parse().unwrap(), &id);
        headers
    }

    #[test]
    fn headers_of_the_connection_do_not_pass() {
        let sent = [
            ("connection", "keep-alive, X-Private"),
            ("connection", "close"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("inference-header-content-length", "12"),
            ("content-encoding", "gzip"),
        ];
        let passed = forwarded(&sent, "/v2/models/m/infer");
        let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "content-encoding",
            "host",
            "inference-header-content-length",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_replica_learns_who_asked_and_for_what_host() {
        let passed =
            forwarded(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")], "http://edge:80/v2");
        let hops: Vec<&HeaderValue> = passed.get_all(FORWARDED_FOR).iter().collect();
        assert_eq!(hops, ["192.0.2.1", "10.0.0.7"]);
        assert_eq!(
            (&passed[HOST], &passed[FORWARDED_HOST]),
            (&"edge:80".parse().unwrap(), &"edge:80".parse().unwrap())
        );
        assert_eq!(passed[FORWARDED_PROTO], "https");
        assert_eq!(passed[request_id::HEADER], "id-1");
    }

    #[test]
    fn there_is_one_host_and_the_targets_goes_first() {
        let passed = forwarded(&[("host", "a.example.com"), ("host", "b.example.com")], "/");
        assert_eq!(passed.get_all(HOST).iter().collect::<Vec<_>>(), ["a.example.com"]);
        let passed = forwarded(&[("host", "a.example.com"), ("connection", "host")], "http://u@b.example.com/");
        assert_eq!(passed.get_all(HOST).iter().collect::<Vec<_>>(), ["b.example.com"]);
        let uri = "/".parse().unwrap();
        assert_eq!(host(&headers(&[("host", "a:80")]), &uri), Some("a:80"));
        assert_eq!(host(&HeaderMap::new(), &uri), None);
    }

    #[test]
    fn a_replica_cannot_speak_about_the_clients_connection() {
        let mut answered = headers(&[("connection", "close"), ("x-request-id", "forged"), ("content-type", "a/b")]);
        to_client(&mut answered);
        assert_eq!(answered, headers(&[("content-type", "a/b")]));
    }
}
