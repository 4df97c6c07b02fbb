#![allow(clippy::unwrap_used)]

use super::*;

fn read(headers: &[&str]) -> Result<Challenge, Failure> {
    Challenge::read(&headers.iter().map(|value| (WWW_AUTHENTICATE, value.parse().unwrap())).collect())
}

fn bearer(realm: &str, service: Option<&str>) -> Challenge {
    Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) }
}

#[test]
fn a_token_is_preferred_wherever_it_stands() {
    let both = bearer("https://a.io/t", None);
    assert_eq!(read(&[r#"Basic realm="x", Bearer realm="https://a.io/t""#]).unwrap(), both);
    assert_eq!(read(&[r#"BEARER REALM="https://a.io/t""#, "Basic realm=x"]).unwrap(), both);
    assert_eq!(read(&[r#"Negotiate"#, r#"Basic realm="x""#]).unwrap(), Challenge::Basic);
}

#[test]
fn escapes_are_taken_out() {
    assert_eq!(
        read(&[r#"Bearer realm="https://a.io/t",service="a\"b""#]).unwrap(),
        bearer("https://a.io/t", Some("a\"b"))
    );
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    for headers in [&[][..], &["Negotiate"], &["Bearer"], &[r#"Bearer service="a""#], &[r#"Bearer realm="a"#], &[""]] {
        assert!(matches!(read(headers), Err(Failure::Challenge { .. })), "{headers:?}");
    }
}
