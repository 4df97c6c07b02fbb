use super::*;

#[tokio::test]
async fn a_registry_without_tls_is_told_from_one_that_is_not_trusted() {
    let server = Server::start(|_| manifest()).await;
    let error = failure(&pull(settings([]), &server, &Keyring::default())).await;
    let listed = server.registry().to_string();
    assert!(matches!(&error, Failure::PlainHttp { host } if *host == listed), "{error:?}");
    assert!(error.to_string().contains(&format!("list `{listed}` as an insecure registry")));
    assert!(server.seen().is_empty());
}
