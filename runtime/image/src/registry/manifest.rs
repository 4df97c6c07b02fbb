use bytes::Bytes;
use dormouse_spec::Digest;
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::oci::{ACCEPTED, is_schema1};
use crate::shown::shown;

use super::{Content, Failure, MANIFEST_BYTES_MAX, MediaType, origin::Origin, refusal::refusal, transport::Transport};

const CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest or an index as it came, its digest compared with what it was asked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    pub bytes: Bytes,
    pub media_type: MediaType,
    pub digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Itself {
    schema_version: u64,
    media_type: Option<String>,
}

/// Reads a manifest from one place by `version`, a tag or a digest. If `expected` is known, it has
/// that digest.
pub(super) async fn fetch_manifest(
    transport: &Transport,
    origin: &Origin,
    version: &str,
    expected: Option<Digest>,
) -> Result<FetchedManifest, Failure> {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
    let response = origin.get(transport, &format!("manifests/{version}"), headers).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal(transport, response, Content::Manifest).await);
    }
    let content_type = content_type(&response);
    let declared = declared_digest(&response);
    let bytes = transport.body(response).whole(MANIFEST_BYTES_MAX).await?;
    let found = Digest::from_sha256(Sha256::digest(&bytes).into());
    for expected in expected.into_iter().chain(declared) {
        if expected != found {
            return Err(Failure::WrongDigest { expected, found });
        }
    }
    Ok(FetchedManifest { media_type: media_type(&content_type, &bytes)?, bytes, digest: found })
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// What the registry says the digest is. One of another algorithm cannot be compared.
fn declared_digest(response: &Response) -> Option<Digest> {
    response.headers().get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// What the header says or, where it says nothing that is known (plain file servers call every
/// manifest JSON), what the document says.
fn media_type(content_type: &str, bytes: &[u8]) -> Result<MediaType, Failure> {
    if is_schema1(content_type) {
        return Err(Failure::Schema1);
    }
    if let Some(known) = MediaType::parse(content_type) {
        return Ok(known);
    }
    let not_an_image = |media_type: &str| Failure::NotAnImage { media_type: shown(media_type) };
    let itself: Itself = serde_json::from_slice(bytes).map_err(|_| not_an_image(content_type))?;
    match itself {
        Itself { schema_version: 1, .. } => Err(Failure::Schema1),
        Itself { media_type: Some(text), .. } => MediaType::parse(&text).ok_or_else(|| not_an_image(&text)),
        Itself { media_type: None, .. } => Err(not_an_image(content_type)),
    }
}
