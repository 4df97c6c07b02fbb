#![allow(clippy::unwrap_used)]

use super::*;

/// A helper that is a shell script.
fn helper(script: &str, patience: Duration) -> Result<Option<Credentials>, HelperError> {
    run("test", Command::new("sh").args(["-c", script]), "https://a.io", patience)
}

fn patiently(script: &str) -> Result<Option<Credentials>, HelperError> {
    helper(script, PATIENCE)
}

#[test]
fn a_helper_is_asked_for_a_registry() {
    let script = r#"read -r key; printf '{"ServerURL":"%s","Username":"%s","Secret":"s"}' "$key" "$key""#;
    let password = Credentials::Password { username: "https://a.io".into(), password: "s".into() };
    assert_eq!(patiently(script).unwrap(), Some(password));
    let script = r#"printf '{"Username":"<token>","Secret":"t"}'"#;
    assert_eq!(patiently(script).unwrap(), Some(Credentials::IdentityToken("t".into())));
}

#[test]
fn a_helper_may_have_nothing() {
    assert_eq!(patiently("echo credentials not found in native keychain; exit 1").unwrap(), None);
}

#[test]
fn a_helper_that_fails_is_quoted_and_one_that_succeeds_is_not() {
    let failed = patiently("echo locked; exit 3").unwrap_err();
    assert!(matches!(&failed, HelperError::Failed { answer, .. } if answer == "locked"), "{failed:?}");
    let misunderstood = patiently("echo secret").unwrap_err();
    assert!(matches!(misunderstood, HelperError::Answer { .. }));
    assert!(!format!("{misunderstood:?} {misunderstood}").contains("secret"));
}

#[test]
fn a_helper_that_does_not_end_is_killed() {
    for script in ["exec sleep 1000", "exec >&-; exec sleep 1000"] {
        let error = helper(script, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, HelperError::TimedOut { .. }), "{script}: {error:?}");
    }
    let error = patiently("exec yes").unwrap_err();
    assert!(matches!(error, HelperError::TooMuch { .. }), "{error:?}");
}

#[test]
fn a_helper_is_a_program_with_a_plain_name() {
    let registry = Registry::docker_hub();
    for name in ["", "../x", "a b", "A", "a/b", "a;b", "ä"] {
        assert!(matches!(ask_helper(name, &registry), Err(HelperError::Name { .. })), "{name}");
    }
    assert!(matches!(ask_helper("is-not-installed", &registry), Err(HelperError::Run { .. })));
}
