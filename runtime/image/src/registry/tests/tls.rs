use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a server proves itself with, and who trusts it.
fn certificate() -> (TlsAcceptor, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut trusting = RootCertStore::empty();
    trusting.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), trusting)
}

fn trusting(roots: &RootCertStore, server: &Server, insecure: &[&Server]) -> RemoteImage {
    let client = RegistryClient::trusting(settings(insecure.iter().copied()), roots.clone()).unwrap();
    let reference = format!("{}/{REPOSITORY}:1", server.registry()).parse().unwrap();
    client.image(reference, &keyring([(server.registry(), password("me", "secret"))]))
}

#[tokio::test]
async fn a_registry_is_trusted_by_its_authority_alone() {
    let (tls, roots) = certificate();
    let server = Server::start_tls(tls, |_| manifest()).await;
    trusting(&roots, &server, &[]).manifest().await.unwrap();
    for strangers in [RootCertStore::empty(), certificate().1] {
        let error = trusting(&strangers, &server, &[]).manifest().await.unwrap_err();
        assert!(matches!(*error.failure, Failure::Tls { .. }), "{error:?}");
        assert_eq!((error.attempts, server.seen().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_registry_without_tls_is_told_from_one_that_is_not_trusted() {
    let server = Server::start(|_| manifest()).await;
    let error = failure(&pull(settings([]), &server, &Keyring::default())).await;
    let listed = server.registry().to_string();
    assert!(matches!(&error, Failure::PlainHttp { host } if *host == listed), "{error:?}");
    assert!(error.to_string().contains(&format!("list `{listed}` as an insecure registry")));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_password_does_not_leave_tls() {
    let plain = Server::start(|_| Answer::ok(r#"{"token":"a"}"#)).await;
    let realm = plain.url("/token");
    let (tls, roots) = certificate();
    let registry = Server::start_tls(tls, move |_| {
        Answer::new(401, "").header("www-authenticate", format!(r#"Bearer realm="{realm}""#))
    })
    .await;
    // Not even where the token server is listed: it is the registry that says where passwords go.
    let error = failure(&trusting(&roots, &registry, &[&plain])).await;
    assert!(matches!(error, Failure::Challenge { .. }), "{error:?}");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_does_not_leave_tls() {
    let plain = Server::start(|_| manifest()).await;
    let to = plain.url("/");
    let (tls, roots) = certificate();
    let registry = Server::start_tls(tls, move |_| Answer::new(307, "").header("location", to.clone())).await;
    let error = failure(&trusting(&roots, &registry, &[])).await;
    assert!(matches!(error, Failure::Redirect { .. }), "{error:?}");
    assert!(plain.seen().is_empty());
}
