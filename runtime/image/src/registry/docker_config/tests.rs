#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;

fn found(config: &str, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    fs::write(&path, config).unwrap();
    credentials_for(&path, &registry.parse().unwrap())
}

fn password(username: &str, password: &str) -> Credentials {
    Credentials::Password { username: username.into(), password: password.into() }
}

#[test]
fn an_entry_is_found_under_every_name_that_tools_write() {
    for (key, registry) in [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://GHCR.io/v2/", "ghcr.io"),
        ("http://localhost:5000/", "localhost:5000"),
    ] {
        let config = format!(r#"{{"auths":{{"other.io":{{}},"{key}":{{"auth":"bWU6czplY3JldA=="}}}}}}"#);
        assert_eq!(found(&config, registry).unwrap(), Some(password("me", "s:ecret")), "{key}");
    }
}

#[test]
fn an_entry_for_something_else_is_not_taken() {
    for key in ["ghcr.io/owner", "ghcr.io:443", "xghcr.io", "https://ghcr.io/v1/owner"] {
        let config = format!(r#"{{"auths":{{"{key}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#);
        assert_eq!(found(&config, "ghcr.io").unwrap(), None, "{key}");
    }
}

#[test]
fn credentials_are_written_in_three_ways() {
    for (entry, credentials) in [
        (r#"{"auth":"bWU6c2VjcmV0"}"#, Some(password("me", "secret"))),
        (r#"{"auth":"bWU6c2VjcmV0AAA="}"#, Some(password("me", "secret"))),
        (r#"{"username":"me","password":"secret","email":"me@a.io"}"#, Some(password("me", "secret"))),
        (r#"{"auth":"bWU6c2VjcmV0","identitytoken":"t"}"#, Some(Credentials::IdentityToken("t".into()))),
        ("{}", None),
    ] {
        assert_eq!(found(&format!(r#"{{"auths":{{"a.io":{entry}}}}}"#), "a.io").unwrap(), credentials, "{entry}");
    }
}

#[test]
fn damage_is_told_and_not_taken_for_absence() {
    for entry in [r#"{"auth":"?"}"#, r#"{"auth":"bWU="}"#, r#"{"auth":"/w=="}"#, r#"{"username":"me"}"#] {
        let error = found(&format!(r#"{{"auths":{{"a.io":{entry}}}}}"#), "a.io").unwrap_err();
        assert!(matches!(error, CredentialsError::Damaged { .. }), "{entry}: {error:?}");
    }
    assert!(matches!(found("[", "a.io").unwrap_err(), CredentialsError::Malformed { .. }));
    let large = " ".repeat(1 << 20) + "{}";
    assert!(matches!(found(&large, "a.io").unwrap_err(), CredentialsError::TooLarge { .. }));
    assert_eq!(found("{}", "a.io").unwrap(), None);
}

#[test]
fn a_file_that_is_not_there_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::docker_hub();
    assert_eq!(credentials_for(&directory.path().join("none"), &registry).unwrap(), None);
    let error = credentials_for(directory.path(), &registry).unwrap_err();
    assert!(matches!(error, CredentialsError::Read { .. }), "{error:?}");
}

#[test]
fn the_helper_of_a_registry_goes_before_that_of_all() {
    for (config, name) in [
        (r#"{"credHelpers":{"a.io":"../one"},"credsStore":"/all"}"#, "../one"),
        (r#"{"credHelpers":{"b.io":"../one"},"credsStore":"/all"}"#, "/all"),
        (r#"{"credsStore":"","auths":{"a.io":{"auth":"bWU6c2VjcmV0"}}}"#, ""),
    ] {
        let error = found(config, "a.io").unwrap_err();
        let CredentialsError::Helper { source: HelperError::Name { name: refused }, .. } = error else {
            panic!("{config}: {error:?}");
        };
        assert_eq!(refused, name);
    }
}

#[test]
fn a_helper_may_have_any_name_that_leads_nowhere_else() {
    let error = found(r#"{"credsStore":"no-such.helper_2"}"#, "a.io").unwrap_err();
    assert!(matches!(error, CredentialsError::Helper { source: HelperError::Run { .. }, .. }), "{error:?}");
}

#[test]
fn nothing_secret_is_printed() {
    for credentials in [password("me", "secret"), Credentials::IdentityToken("secret".into())] {
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
