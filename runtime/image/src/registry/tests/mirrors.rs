use super::*;

fn mirrored(registry: &Server, mirrors: &[&Server], keyring: &Keyring) -> RemoteImage {
    let mut settings = settings(mirrors.iter().copied().chain([registry]));
    settings.mirrors.insert(registry.registry(), mirrors.iter().map(|mirror| mirror.registry()).collect());
    pull(settings, registry, keyring)
}

#[tokio::test]
async fn a_mirror_that_has_it_spares_the_registry() {
    let registry = Server::start(|_| Answer::new(500, "")).await;
    let mirror = Server::start(|_| manifest()).await;
    mirrored(&registry, &[&mirror], &Keyring::default()).manifest().await.unwrap();
    assert!(registry.seen().is_empty());
}

#[tokio::test]
async fn each_mirror_is_asked_once_and_then_the_registry() {
    let registry = Server::start(|_| manifest()).await;
    let broken = Server::start(|_| Answer::new(500, "")).await;
    let empty = Server::start(|_| Answer::new(404, "")).await;
    let lying = Server::start(|_| manifest().header("docker-content-digest", digest(b"another").to_string())).await;
    let mirrors = [&broken, &empty, &lying];
    mirrored(&registry, &mirrors, &Keyring::default()).manifest().await.unwrap();
    assert!(mirrors.iter().all(|mirror| mirror.seen().len() == 1));
}

#[tokio::test]
async fn the_error_is_the_registrys() {
    let registry = Server::start(|_| Answer::new(404, "")).await;
    let mirror = Server::start(|_| Answer::new(403, "")).await;
    let error = mirrored(&registry, &[&mirror], &Keyring::default()).manifest().await.unwrap_err();
    assert!(matches!(*error.failure, Failure::UnknownImage { .. }), "{error:?}");
    assert_eq!((error.host, error.attempts), (registry.registry().to_string(), 1));
}

#[tokio::test]
async fn a_mirror_gets_its_own_credentials_only() {
    let guarded = |seen: &Seen| match seen.authorization() {
        Some(_) => manifest(),
        None => Answer::new(401, "").header("www-authenticate", r#"Basic realm="r""#),
    };
    let (registry, mirror) = (Server::start(guarded).await, Server::start(guarded).await);
    let of_registry = keyring([(registry.registry(), password("me", "secret"))]);
    mirrored(&registry, &[&mirror], &of_registry).manifest().await.unwrap();
    assert!(mirror.seen().iter().all(|seen| seen.authorization().is_none()));
    assert!(registry.seen().last().unwrap().authorization().is_some());

    let of_mirror = keyring([(mirror.registry(), password("me", "secret"))]);
    mirrored(&registry, &[&mirror], &of_mirror).manifest().await.unwrap();
    assert!(mirror.seen().last().unwrap().authorization().is_some());
}

#[tokio::test]
async fn a_blob_that_a_mirror_breaks_off_goes_on_at_the_registry() {
    let content = b"0123456789";
    let mirror = Server::start(|_| Answer::ok("01234").header("content-length", "10").cut()).await;
    let registry = Server::start(|_| Answer::new(206, "56789").header("content-range", "bytes 5-9/10")).await;
    let (result, sink) = blob(&mirrored(&registry, &[&mirror], &Keyring::default()), content).await;
    result.unwrap();
    assert_eq!(sink.content, content);
    assert_eq!(registry.seen()[0].header("range"), Some("bytes=5-"));
}

#[tokio::test]
async fn a_disk_that_is_full_is_full_for_the_registry_too() {
    let registry = Server::start(|_| Answer::ok("content")).await;
    let mirror = Server::start(|_| Answer::ok("content")).await;
    let image = mirrored(&registry, &[&mirror], &Keyring::default());
    let mut sink = Collected { room: Some(1), ..Collected::default() };
    let error = image.blob(&layer(b"content"), &mut sink).await.unwrap_err();
    assert!(matches!(*error.failure, Failure::Sink { .. }), "{error:?}");
    assert!(registry.seen().is_empty());
}
