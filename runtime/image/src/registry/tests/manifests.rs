use super::*;

const PATH: &str = "/v2/owner/name/manifests/1";

#[tokio::test]
async fn a_manifest_is_its_bytes_its_media_type_and_its_digest() {
    let server =
        Server::start(|_| manifest().header("docker-content-digest", digest(MANIFEST.as_bytes()).to_string())).await;
    let found = public(&server).manifest().await.unwrap();
    assert_eq!((&found.bytes[..], found.media_type), (MANIFEST.as_bytes(), MediaType::OciManifest));
    assert_eq!(found.digest, digest(MANIFEST.as_bytes()));
    let seen = server.seen();
    assert_eq!((seen.len(), seen[0].path.as_str()), (1, PATH));
    assert!(seen[0].header("accept").unwrap().contains(MediaType::DockerManifestList.as_str()));
    assert_eq!(seen[0].authorization(), None);
}

#[tokio::test]
async fn other_bytes_than_the_digest_names_are_refused() {
    let expected = digest(b"another");
    let by_header = Server::start(move |_| manifest().header("docker-content-digest", expected.to_string())).await;
    let error = failure(&public(&by_header)).await;
    assert!(matches!(error, Failure::WrongDigest { .. }), "{error:?}");

    let by_reference = Server::start(|_| manifest()).await;
    let reference = format!("{}/{REPOSITORY}:1@{expected}", by_reference.registry()).parse().unwrap();
    let client = RegistryClient::new(settings([&by_reference])).unwrap();
    let error = failure(&client.image(reference, &Keyring::default())).await;
    assert!(matches!(error, Failure::WrongDigest { .. }), "{error:?}");
    assert_eq!(by_reference.paths(), [format!("/v2/owner/name/manifests/{expected}")], "the digest decides");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let says = r#"{"errors":[{"code":"X_UNKNOWN","message":"no\u001b[2J such","detail":{"a":1}}]}"#;
    type IsTold = fn(&Failure) -> bool;
    let refusals: [(u16, IsTold); 6] = [
        (404, |failure| matches!(failure, Failure::UnknownImage { .. })),
        (403, |failure| matches!(failure, Failure::Forbidden { .. })),
        (429, |failure| matches!(failure, Failure::TooManyRequests { retry_after: None, .. })),
        (500, |failure| matches!(failure, Failure::Server { status: 500, .. })),
        (418, |failure| matches!(failure, Failure::Status { status: 418, .. })),
        (307, |failure| matches!(failure, Failure::Status { status: 307, .. })),
    ];
    for (status, is_told) in refusals {
        let server = Server::start(move |_| Answer::new(status, says)).await;
        let error = public(&server).manifest().await.unwrap_err();
        assert!(is_told(&error.failure), "{error:?}");
        let text = error.failure.to_string();
        assert!(text.contains(r"(it says: X_UNKNOWN: no\u{1b}[2J such)"), "{text}");
        assert_eq!(error.attempts, if error.failure.is_transient() { 5 } else { 1 });
    }
}

#[tokio::test]
async fn what_is_no_registry_is_quoted_too() {
    for (body, quoted) in [
        (
            "Client sent an HTTP request to an HTTPS server.\nbye",
            "(it says: Client sent an HTTP request to an HTTPS server.)",
        ),
        ("<html>", "here"),
    ] {
        let server = Server::start(move |_| Answer::new(400, body)).await;
        let text = failure(&public(&server)).await.to_string();
        assert!(text.ends_with(quoted), "{text}");
    }
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_told_and_not_made() {
    let server = Server::start(|_| Answer::new(429, "").header("retry-after", "3600")).await;
    let error = failure(&public(&server)).await;
    let asked = Some(Duration::from_secs(3600));
    assert!(matches!(error, Failure::TooManyRequests { retry_after, .. } if retry_after == asked), "{error:?}");
    assert!(error.to_string().contains("try again in 3600 s"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_registry_that_recovers_is_asked_again() {
    let server = Server::start(|seen| match seen.earlier {
        0 => Answer::new(500, ""),
        1 => Answer::new(429, "").header("retry-after", "0"),
        2 => Answer::ok("{").cut(),
        _ => manifest(),
    })
    .await;
    public(&server).manifest().await.unwrap();
    assert_eq!(server.paths(), [PATH; 4]);
}

#[tokio::test]
async fn a_manifest_without_end_is_left() {
    let endless = Server::start(|_| Answer::ok(vec![b' '; 64 << 10]).endless()).await;
    let error = failure(&public(&endless)).await;
    assert!(matches!(error, Failure::TooLarge { .. }), "{error:?}");

    let declared = Server::start(|_| Answer::ok("").header("content-length", "4194305").silent()).await;
    let error = failure(&public(&declared)).await;
    assert!(matches!(error, Failure::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_silent_registry_is_not_waited_for() {
    let settings = |server| RegistrySettings {
        stall_timeout: Duration::from_millis(50),
        connect_timeout: Duration::from_millis(50),
        attempts_max: std::num::NonZeroU32::MIN,
        ..settings([server])
    };
    let in_body = Server::start(|_| Answer::ok("{").silent()).await;
    let error = failure(&pull(settings(&in_body), &in_body, &Keyring::default())).await;
    assert!(matches!(error, Failure::Stalled { .. }), "{error:?}");

    // It accepts connections, as the kernel does for it, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry: Registry = silent.local_addr().unwrap().to_string().parse().unwrap();
    let settings = RegistrySettings { insecure: [registry.clone()].into(), ..settings(&in_body) };
    let reference = format!("{registry}/{REPOSITORY}").parse().unwrap();
    let error = failure(&RegistryClient::new(settings).unwrap().image(reference, &Keyring::default())).await;
    assert!(matches!(error, Failure::Stalled { .. }), "{error:?}");
}

#[tokio::test]
async fn the_media_type_is_the_headers_or_else_the_documents() {
    let docker = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}"#;
    let plain = Server::start(move |_| Answer::ok(docker).header("content-type", "application/json")).await;
    assert_eq!(public(&plain).manifest().await.unwrap().media_type, MediaType::DockerManifest);

    let helm = r#"{"schemaVersion":2,"mediaType":"application/vnd.cncf.helm.config.v1+json"}"#;
    for document in [helm, r#"{"schemaVersion":2}"#, "<html>"] {
        let server = Server::start(move |_| Answer::ok(document).header("content-type", "text/html")).await;
        let error = failure(&public(&server)).await;
        assert!(matches!(error, Failure::NotAnImage { .. }), "{document}: {error:?}");
    }
}

#[tokio::test]
async fn the_first_format_of_docker_is_named() {
    for (document, content_type) in [
        ("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (r#"{"schemaVersion":1}"#, "application/json"),
    ] {
        let server = Server::start(move |_| Answer::ok(document).header("content-type", content_type)).await;
        assert!(matches!(failure(&public(&server)).await, Failure::Schema1), "{content_type}");
    }
}

#[tokio::test]
async fn nobody_there_and_no_such_host_are_told_apart() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let failure_at = async |registry: &str| {
        let settings = RegistrySettings { insecure: [registry.parse().unwrap()].into(), ..settings([]) };
        let reference = format!("{registry}/{REPOSITORY}").parse().unwrap();
        failure(&RegistryClient::new(settings).unwrap().image(reference, &Keyring::default())).await
    };
    let error = failure_at(&closed).await;
    assert!(matches!(error, Failure::Connect { .. }), "{error:?}");
    // RFC 6761: no resolver answers for this one.
    let error = failure_at("nowhere.invalid").await;
    assert!(matches!(error, Failure::Resolve { .. }), "{error:?}");
    let error = failure_at("a.1").await;
    assert!(matches!(error, Failure::Address { .. }), "{error:?}");
}
