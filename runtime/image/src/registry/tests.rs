#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

//! The client against a registry that does what a script says, over loopback.

mod authorization;
mod blobs;
mod manifests;
mod mirrors;
mod redirects;
mod server;
mod sink;
mod tls;

use std::time::Duration;

use dormouse_spec::{Digest, ImageReference, Registry};
use sha2::{Digest as _, Sha256};

use self::{
    server::{Answer, Seen, Server},
    sink::Collected,
};
use super::{
    Credentials, Descriptor, Failure, Keyring, MediaType, RegistryClient, RegistryError, RegistrySettings, RemoteImage,
};

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
const REPOSITORY: &str = "owner/name";

fn digest(content: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(content).into())
}

fn layer(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
        digest: digest(content),
        size: content.len() as u64,
    }
}

/// Settings under which nothing takes long, for registries on plain HTTP.
fn settings<'a>(insecure: impl IntoIterator<Item = &'a Server>) -> RegistrySettings {
    RegistrySettings {
        insecure: insecure.into_iter().map(Server::registry).collect(),
        backoff: Duration::from_millis(1),
        ..RegistrySettings::default()
    }
}

fn pull(settings: RegistrySettings, from: &Server, keyring: &Keyring) -> RemoteImage {
    let reference: ImageReference = format!("{}/{REPOSITORY}:1", from.registry()).parse().unwrap();
    RegistryClient::new(settings).unwrap().image(reference, keyring)
}

/// The image of a server that nobody has to log in to.
fn public(server: &Server) -> RemoteImage {
    pull(settings([server]), server, &Keyring::default())
}

fn password(username: &str, password: &str) -> Credentials {
    Credentials::Password { username: username.into(), password: password.into() }
}

fn keyring(entries: impl IntoIterator<Item = (Registry, Credentials)>) -> Keyring {
    let mut keyring = Keyring::default();
    for (registry, credentials) in entries {
        keyring.insert(registry, credentials);
    }
    keyring
}

fn manifest() -> Answer {
    Answer::ok(MANIFEST).header("content-type", MediaType::OciManifest.as_str())
}

async fn failure(image: &RemoteImage) -> Failure {
    *image.manifest().await.unwrap_err().failure
}

async fn blob(image: &RemoteImage, content: &[u8]) -> (Result<(), RegistryError>, Collected) {
    let mut sink = Collected::default();
    (image.blob(&layer(content), &mut sink).await, sink)
}

fn is_send_and_sync<T: Send + Sync + Clone + 'static>() {}

#[tokio::test]
async fn what_is_pulled_can_be_pulled_in_tasks() {
    is_send_and_sync::<RegistryClient>();
    is_send_and_sync::<RemoteImage>();
    let server = Server::start(|_| manifest()).await;
    let image = public(&server);
    let pulls: Vec<_> = (0..3)
        .map(|_| {
            let image = image.clone();
            tokio::spawn(async move { (image.manifest().await, blob(&image, b"").await.0) })
        })
        .collect();
    for pull in pulls {
        let (manifest, blob) = pull.await.unwrap();
        assert_eq!(manifest.unwrap().digest, digest(MANIFEST.as_bytes()));
        blob.unwrap();
    }
}
