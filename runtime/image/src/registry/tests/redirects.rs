use super::*;

const GUARD: (&str, &str) = ("www-authenticate", r#"Basic realm="r""#);

/// A registry that lets in who has a password, and sends them to `to`.
async fn sending_to(to: String) -> Server {
    Server::start(move |seen| match seen.authorization() {
        Some(_) => Answer::new(307, "").header("location", to.clone()),
        None => Answer::new(401, "").header(GUARD.0, GUARD.1),
    })
    .await
}

fn logged_in(registry: &Server, insecure: &[&Server]) -> RemoteImage {
    let keyring = keyring([(registry.registry(), password("me", "secret"))]);
    pull(settings(insecure.iter().copied()), registry, &keyring)
}

#[tokio::test]
async fn another_host_is_never_told_who_asks() {
    let content = b"content";
    let elsewhere = Server::start(|seen| match seen.path.as_str() {
        "/first" => Answer::new(302, "").header("location", "/second?signed=1"),
        _ => Answer::ok("content"),
    })
    .await;
    let registry = sending_to(elsewhere.url("/first")).await;
    let (result, sink) = blob(&logged_in(&registry, &[&registry, &elsewhere]), content).await;
    result.unwrap();
    assert_eq!(sink.content, content);
    assert_eq!(elsewhere.paths(), ["/first", "/second?signed=1"]);
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization().is_none()));
}

#[tokio::test]
async fn a_challenge_of_another_host_is_not_answered() {
    let elsewhere = Server::start(|_| Answer::new(401, "").header(GUARD.0, GUARD.1)).await;
    let registry = sending_to(elsewhere.url("/")).await;
    let error = failure(&logged_in(&registry, &[&registry, &elsewhere])).await;
    assert!(matches!(error, Failure::Status { status: 401, .. }), "{error:?}");
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization().is_none()));
}

#[tokio::test]
async fn the_same_host_still_knows_who_asks() {
    let registry = Server::start(|seen| match (seen.authorization(), seen.path.as_str()) {
        (None, _) => Answer::new(401, "").header(GUARD.0, GUARD.1),
        (_, "/elsewhere") => manifest(),
        _ => Answer::new(308, "").header("location", "/elsewhere"),
    })
    .await;
    logged_in(&registry, &[&registry]).manifest().await.unwrap();
}

#[tokio::test]
async fn plain_http_is_followed_only_to_where_it_is_listed() {
    let elsewhere = Server::start(|_| manifest()).await;
    let registry = sending_to(elsewhere.url("/?signature=1")).await;
    let error = failure(&logged_in(&registry, &[&registry])).await;
    assert!(matches!(error, Failure::Redirect { .. }), "{error:?}");
    assert!(elsewhere.seen().is_empty());
    assert!(!format!("{error:?} {error}").contains("signature"), "whoever has it can read the blob");
    let registry = sending_to("file:///etc/passwd".into()).await;
    let error = failure(&logged_in(&registry, &[&registry])).await;
    assert!(matches!(error, Failure::Redirect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_circle_is_left() {
    let registry = Server::start(|seen| Answer::new(302, "").header("location", seen.path.clone())).await;
    let error = failure(&public(&registry)).await;
    assert!(matches!(error, Failure::Redirect { .. }), "{error:?}");
    assert_eq!(registry.seen().len(), 6, "the request and five redirects");
}

#[tokio::test]
async fn a_refresh_token_is_not_sent_on() {
    let elsewhere = Server::start(|_| Answer::ok(r#"{"token":"a"}"#)).await;
    let to = elsewhere.url("/token");
    let registry = Server::start(move |seen| match seen.path.as_str() {
        "/token" => Answer::new(307, "").header("location", to.clone()),
        _ => {
            let realm = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
            Answer::new(401, "").header("www-authenticate", realm)
        }
    })
    .await;
    let keyring = keyring([(registry.registry(), Credentials::IdentityToken("secret".into()))]);
    let error = failure(&pull(settings([&registry, &elsewhere]), &registry, &keyring)).await;
    assert!(matches!(error, Failure::Token { .. }), "{error:?}");
    assert!(elsewhere.seen().is_empty());
}
