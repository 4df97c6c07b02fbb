#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn parse(text: &str) -> Result<ImageReference, ImageReferenceError> {
    text.parse()
}

#[test]
fn what_goes_without_saying_is_filled_in() {
    for (text, full) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("owner/name", "docker.io/owner/name:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("GHCR.io/x/y:V1", "ghcr.io/x/y:V1"),
        ("sha256:1", "docker.io/library/sha256:1"),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), full, "{text}");
    }
}

#[test]
fn a_digest_needs_no_tag_and_keeps_one_that_is_there() {
    let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
    let alone = parse(&format!("ghcr.io/x/y@{digest}")).unwrap();
    assert_eq!((alone.tag(), alone.digest()), (None, Some(digest)));
    let both = parse(&format!("name:tag@{digest}")).unwrap();
    assert_eq!((both.tag(), both.digest()), (Some("tag"), Some(digest)));
    assert_eq!(both.to_string(), format!("docker.io/library/name:tag@{digest}"));
    assert_eq!(parse("name").unwrap().digest(), None);
}

#[test]
fn the_familiar_form_is_short_and_means_the_same() {
    for (text, familiar) in [
        ("busybox", "busybox:latest"),
        ("docker.io/owner/name:1", "owner/name:1"),
        ("ghcr.io/x/y", "ghcr.io/x/y:latest"),
        ("docker.io/localhost/a", "docker.io/localhost/a:latest"),
        ("docker.io/library/a/b", "library/a/b:latest"),
    ] {
        assert_eq!(parse(text).unwrap().familiar(), familiar);
    }
}

#[test]
fn each_mistake_is_told_for_what_it_is() {
    use ImageReferenceError as E;
    type IsTold = fn(&E) -> bool;
    let mistakes: [(String, IsTold); 26] = [
        (String::new(), |error| *error == E::Empty),
        ("a".repeat(1025), |error| *error == E::TooLong { bytes: 1025 }),
        ("a".repeat(256), |error| matches!(error, E::RepositoryTooLong { .. })),
        ("https://ghcr.io/x/y".into(), |error| matches!(error, E::Scheme { scheme, .. } if scheme == "https")),
        (format!("sha256:{HEX}"), |error| matches!(error, E::DigestAlone { .. })),
        ("a.io:x/name".into(), |error| matches!(error, E::Registry { .. })),
        ("user:password@ghcr.io/x".into(), |error| matches!(error, E::Digest { .. })),
        ("Busybox".into(), |error| matches!(error, E::Repository { .. })),
        ("a//b".into(), |error| matches!(error, E::Repository { .. })),
        ("a/".into(), |error| matches!(error, E::Repository { .. })),
        ("/a".into(), |error| matches!(error, E::Repository { .. })),
        ("a/../b".into(), |error| matches!(error, E::Repository { .. })),
        ("ghcr.io/".into(), |error| matches!(error, E::Repository { .. })),
        ("a..b".into(), |error| matches!(error, E::Repository { .. })),
        ("a___b".into(), |error| matches!(error, E::Repository { .. })),
        ("a._b".into(), |error| matches!(error, E::Repository { .. })),
        ("-a".into(), |error| matches!(error, E::Repository { .. })),
        ("a b".into(), |error| matches!(error, E::Repository { .. })),
        ("a:".into(), |error| matches!(error, E::Tag { .. })),
        ("a:-1".into(), |error| matches!(error, E::Tag { .. })),
        ("a/b:1/c".into(), |error| matches!(error, E::Tag { .. })),
        ("a:1:2".into(), |error| matches!(error, E::Tag { .. })),
        (format!("a:{}", "1".repeat(129)), |error| matches!(error, E::Tag { .. })),
        (format!("a@sha512:{HEX}"), |error| *error == E::Algorithm { algorithm: "sha512".into() }),
        ("a@sha256:12".into(), |error| matches!(error, E::Digest { .. })),
        (format!("a@sha256:{HEX}@sha256:{HEX}"), |error| matches!(error, E::Digest { .. })),
    ];
    for (text, is_told) in mistakes {
        let error = parse(&text).unwrap_err();
        assert!(is_told(&error), "{text}: {error:?}");
    }
    assert!(parse(&format!("a:{}", "1".repeat(128))).is_ok());
    assert!(parse("a.b/c__d/e--f/g.h_i").is_ok());
}

#[test]
fn serde_reads_what_it_wrote() {
    let reference = parse("busybox").unwrap();
    let json = serde_json::to_string(&reference).unwrap();
    assert_eq!(json, "\"docker.io/library/busybox:latest\"");
    assert_eq!(serde_json::from_str::<ImageReference>(&json).unwrap(), reference);
    assert!(serde_json::from_str::<ImageReference>("\"A\"").is_err());
}

fn reads_back(text: &str) -> Result<(), TestCaseError> {
    if let Ok(reference) = parse(text) {
        prop_assert_eq!(parse(&reference.to_string()), Ok(reference.clone()));
        prop_assert_eq!(parse(&reference.familiar()), Ok(reference.clone()));
        prop_assert!(reference.repository().len() <= REPOSITORY_BYTES_MAX);
        prop_assert!(reference.tag().is_some() || reference.digest().is_some());
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_that_is_accepted_reads_back(text in ".*") {
        reads_back(&text)?;
    }

    #[test]
    fn any_text_of_the_right_letters_that_is_accepted_reads_back(text in "[aA0./:@_\\[\\]-]{0,40}") {
        reads_back(&text)?;
    }

    #[test]
    fn what_is_well_formed_is_accepted(
        registry in "(localhost/|docker\\.io/|[a-z0-9]{1,9}\\.[a-z]{2}/|[a-z]{1,9}:[1-9][0-9]{0,3}/)?",
        repository in "[a-z0-9]{1,9}((_|__|-{1,3})[a-z0-9]{1,9}){0,2}(/[a-z0-9]{1,9}(\\.[a-z0-9]{1,9})?){0,3}",
        tag in "(:[A-Za-z0-9_][A-Za-z0-9._-]{0,20})?",
        digest in "(@sha256:[0-9a-f]{64})?",
    ) {
        let text = format!("{registry}{repository}{tag}{digest}");
        prop_assert!(parse(&text).is_ok(), "{}", text);
        reads_back(&text)?;
    }
}
