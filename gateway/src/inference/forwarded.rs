//! The `Forwarded` header (RFC 7239).

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderValue,
    header::{FORWARDED, HOST},
};

/// Says on one line, after whatever earlier proxies said, who asked this one and for what host.
pub(super) fn append(headers: &mut HeaderMap, client: IpAddr) {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
    let element = element(client, host);
    let mut line: Vec<&[u8]> = headers.get_all(FORWARDED).iter().map(HeaderValue::as_bytes).collect();
    line.push(element.as_bytes());
    if let Ok(line) = HeaderValue::from_bytes(&line.join(b", ".as_slice())) {
        headers.insert(FORWARDED, line);
    }
}

fn element(client: IpAddr, host: Option<&str>) -> String {
    let client = match client.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = host.map_or_else(String::new, |host| format!(";host={}", value(host)));
    format!("for={client}{host};proto=http")
}

/// A token as it is, anything else quoted.
fn value(text: &str) -> String {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(is_token) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn appended(client: &str, host: &'static str, came: &[&'static str]) -> String {
        let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
        for came in came {
            headers.append(FORWARDED, HeaderValue::from_static(came));
        }
        append(&mut headers, client.parse().unwrap());
        assert_eq!(headers.get_all(FORWARDED).iter().count(), 1);
        headers[FORWARDED].to_str().unwrap().to_owned()
    }

    #[test]
    fn it_says_who_asked_and_for_what_host() {
        assert_eq!(appended("192.0.2.1", "h.example.com", &[]), "for=192.0.2.1;host=h.example.com;proto=http");
        assert_eq!(appended("192.0.2.1", "h.localhost:80", &[]), r#"for=192.0.2.1;host="h.localhost:80";proto=http"#);
        assert_eq!(appended("192.0.2.1", "", &[]), "for=192.0.2.1;proto=http");
    }

    #[test]
    fn an_address_of_ipv6_is_in_brackets_and_quoted() {
        assert_eq!(appended("2001:db8::1", "h", &[]), r#"for="[2001:db8::1]";host=h;proto=http"#);
        assert_eq!(appended("::ffff:192.0.2.1", "h", &[]), "for=192.0.2.1;host=h;proto=http");
    }

    #[test]
    fn what_earlier_proxies_said_comes_first() {
        let line = appended("192.0.2.1", "h", &["for=10.0.0.1, for=10.0.0.2", "for=_hidden"]);
        assert_eq!(line, "for=10.0.0.1, for=10.0.0.2, for=_hidden, for=192.0.2.1;host=h;proto=http");
    }

    #[test]
    fn a_host_cannot_end_its_quotes() {
        assert_eq!(appended("192.0.2.1", r#"a";for=b\"#, &[]), r#"for=192.0.2.1;host="a\";for=b\\";proto=http"#);
    }
}
