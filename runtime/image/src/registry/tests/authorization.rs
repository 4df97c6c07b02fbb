use super::*;

const SERVICE: &str = r#"the "service""#;

/// A registry that lets in who has one of `tokens`, and asks others to get one from itself.
fn guarded(seen: &Seen, tokens: &[&str], answer: impl FnOnce() -> Answer) -> Answer {
    let realm = format!("http://{}/token?fixed=1", seen.header("host").unwrap());
    if seen.path.starts_with("/token") {
        return answer();
    }
    let has_one = |token: &&str| seen.authorization() == Some(&format!("Bearer {token}"));
    if tokens.iter().any(has_one) {
        return manifest();
    }
    let challenge =
        format!(r#"Basic realm="x", Bearer realm="{realm}",service="the \"service\"",scope="repository:*:*""#);
    Answer::new(401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#).header("www-authenticate", challenge)
}

fn token(token: &str) -> Answer {
    Answer::ok(format!(r#"{{"token":"{token}"}}"#))
}

fn logged_in(server: &Server, credentials: Credentials) -> RemoteImage {
    pull(settings([server]), server, &keyring([(server.registry(), credentials)]))
}

#[tokio::test]
async fn whoever_is_nobody_gets_a_token_to_pull_and_keeps_it() {
    let server = Server::start(|seen| guarded(seen, &["a"], || token("a"))).await;
    let image = public(&server);
    image.manifest().await.unwrap();
    image.manifest().await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 4, "refused, the token, and twice the manifest");
    let asked = reqwest::Url::parse(&server.url(&seen[1].path)).unwrap();
    let asked: Vec<_> = asked.query_pairs().into_owned().collect();
    let pairs = [("fixed", "1"), ("service", SERVICE), ("scope", "repository:owner/name:pull")];
    assert_eq!(asked, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(seen[1].authorization(), None);
}

#[tokio::test]
async fn a_token_is_not_kept_for_another_caller() {
    let server = Server::start(|seen| guarded(seen, &["a"], || token("a"))).await;
    let client = RegistryClient::new(settings([&server])).unwrap();
    let reference: ImageReference = format!("{}/{REPOSITORY}:1", server.registry()).parse().unwrap();
    let mine = keyring([(server.registry(), password("me", "secret"))]);
    client.image(reference.clone(), &mine).manifest().await.unwrap();
    client.image(reference, &Keyring::default()).manifest().await.unwrap();
    let first: Vec<_> = server.seen().iter().map(|seen| seen.authorization().map(str::to_owned)).collect();
    assert_eq!((first[3].as_deref(), first[4].as_deref()), (None, None), "the second begins as nobody: {first:?}");
}

#[tokio::test]
async fn a_password_is_for_the_token_server_alone() {
    let server = Server::start(|seen| guarded(seen, &["a"], || token("a"))).await;
    logged_in(&server, password("me", "secret")).manifest().await.unwrap();
    let sent: Vec<_> = server.seen().iter().map(|seen| seen.authorization().map(str::to_owned)).collect();
    assert_eq!(sent, [None, Some("Basic bWU6c2VjcmV0".into()), Some("Bearer a".into())]);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server =
        Server::start(|seen| guarded(seen, &["a"], || Answer::ok(r#"{"access_token":"a","expires_in":300}"#))).await;
    logged_in(&server, Credentials::IdentityToken("i&d".into())).manifest().await.unwrap();
    let seen = &server.seen()[1];
    assert_eq!((seen.method.as_str(), seen.authorization()), ("POST", None));
    assert!(
        seen.body.contains("grant_type=refresh_token") && seen.body.contains("refresh_token=i%26d"),
        "{}",
        seen.body
    );
    assert!(seen.body.contains("scope=repository%3Aowner%2Fname%3Apull"), "{}", seen.body);
}

#[tokio::test]
async fn a_token_that_runs_out_is_replaced() {
    let server = Server::start(|seen| match seen.earlier {
        0 => guarded(seen, &["a", "b"], || token("a")),
        1 => guarded(seen, &["a"], || token("b")),
        _ => guarded(seen, &["b"], || token("c")),
    })
    .await;
    let image = public(&server);
    image.manifest().await.unwrap();
    image.manifest().await.unwrap();
    let tokens = server.paths().iter().filter(|path| path.starts_with("/token")).count();
    assert_eq!((tokens, server.seen().last().unwrap().authorization()), (2, Some("Bearer b")));
}

#[tokio::test]
async fn a_registry_that_accepts_no_token_is_asked_once_more_and_no_more() {
    let server = Server::start(|seen| guarded(seen, &[], || token("a"))).await;
    let error = failure(&public(&server)).await;
    assert!(matches!(error, Failure::CredentialsMissing { .. }), "{error:?}");
    let error = failure(&logged_in(&server, password("me", "secret"))).await;
    assert!(matches!(error, Failure::CredentialsRefused { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn basic_is_answered_where_there_is_a_password() {
    let server = Server::start(|seen| match seen.authorization() {
        Some("Basic bWU6c2VjcmV0") => manifest(),
        _ => Answer::new(401, "").header("www-authenticate", r#"Basic realm="r""#),
    })
    .await;
    logged_in(&server, password("me", "secret")).manifest().await.unwrap();
    let error = failure(&public(&server)).await;
    assert!(matches!(error, Failure::CredentialsMissing { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("docker login {}", server.registry())), "{error}");
    let error = failure(&logged_in(&server, password("me", "wrong"))).await;
    assert!(matches!(error, Failure::CredentialsRefused { .. }), "{error:?}");
    let error = failure(&logged_in(&server, Credentials::IdentityToken("t".into()))).await;
    assert!(matches!(error, Failure::Challenge { .. }), "{error:?}");
}

#[tokio::test]
async fn why_there_is_no_token_is_not_lost() {
    let cause = async |answer: fn() -> Answer| {
        let server = Server::start(move |seen| guarded(seen, &[], answer)).await;
        match failure(&logged_in(&server, password("me", "secret"))).await {
            Failure::Token { source, .. } => *source,
            other => other,
        }
    };
    let says = r#"{"errors":[{"code":"DENIED","message":"who?"}]}"#;
    let refused = cause(move || Answer::new(401, r#"{"errors":[{"code":"DENIED","message":"who?"}]}"#)).await;
    assert!(matches!(refused, Failure::CredentialsRefused { .. }) && refused.to_string().contains("who?"), "{says}");
    assert!(matches!(cause(|| Answer::new(403, "")).await, Failure::Forbidden { .. }));
    assert!(matches!(cause(|| Answer::new(503, "")).await, Failure::Server { status: 503, .. }));
    assert!(matches!(cause(|| Answer::new(429, "")).await, Failure::TooManyRequests { .. }));
    assert!(matches!(cause(|| Answer::ok("<html>")).await, Failure::Answer { .. }));
    assert!(matches!(cause(|| Answer::ok("{}")).await, Failure::Challenge { .. }));
    assert!(matches!(cause(|| Answer::ok(r#"{"token":"a\nb"}"#)).await, Failure::TokenCharacters));
    assert!(matches!(cause(|| Answer::ok(vec![b'a'; 65537])).await, Failure::TooLarge { .. }));
}

#[tokio::test]
async fn passwords_go_to_no_token_server_that_is_not_safe() {
    for realm in ["ftp://127.0.0.1/token", "file:///etc/passwd", "token"] {
        let challenge = format!(r#"Bearer realm="{realm}""#);
        let server = Server::start(move |_| Answer::new(401, "").header("www-authenticate", challenge.clone())).await;
        let error = failure(&logged_in(&server, password("me", "secret"))).await;
        assert!(matches!(error, Failure::Challenge { .. }), "{realm}: {error:?}");
    }
}
