//! What a registry answers by the distribution API, and what is wrong about it.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};

use super::{
    Fault,
    fault::Count,
    wire::{Answer, Asked, Then},
};
use crate::oci_image::{INDEX, Layout, MANIFEST};

const TOKEN: &str = "a-token-of-this-registry";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

#[derive(Debug)]
pub(super) struct Answering {
    layout: Layout,
    fault: Fault,
    address: SocketAddr,
    count: Count,
}

impl Answering {
    pub(super) fn new(layout: Layout, fault: Fault, address: SocketAddr) -> Self {
        Self { layout, fault, address, count: Count::default() }
    }

    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap_or_default();
        if path == "/token" {
            return Answer::new(200, json!({ "token": TOKEN, "expires_in": 300 }).to_string());
        }
        if let Some(refusal) = self.unauthorized(asked) {
            return refusal;
        }
        if path == "/v2/" {
            return Answer::new(200, "{}");
        }
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        if let Some((_, reference)) = path.split_once("/manifests/") {
            return self.manifest(reference);
        }
        match path.split_once("/blobs/") {
            Some((_, digest)) => self.blob(digest, asked.first_byte()),
            None => error(404, "NAME_UNKNOWN", "repository name not known to registry"),
        }
    }

    fn unauthorized(&self, asked: &Asked) -> Option<Answer> {
        let has_token = asked.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
        let refusal = || error(401, "UNAUTHORIZED", "authentication required");
        let challenge = || format!("Bearer realm=\"http://{}/token\",service=\"tests\"", self.address);
        match self.fault {
            Fault::WantsToken if has_token => None,
            Fault::WantsToken | Fault::RefusesToken => Some(refusal().header("www-authenticate", challenge())),
            Fault::NoChallenge => Some(refusal()),
            _ => None,
        }
    }

    /// Of whatever is asked of a repository.
    fn refusal(&self) -> Option<Answer> {
        match self.fault {
            Fault::Forbidden => Some(error(403, "DENIED", "requested access to the resource is denied")),
            Fault::NotFound => Some(error(404, "MANIFEST_UNKNOWN", "manifest unknown")),
            Fault::TooManyRequests { retry_after_seconds, times } if self.count.is_due(times) => {
                let refusal = error(429, "TOOMANYREQUESTS", "you have reached your pull rate limit");
                Some(refusal.header("retry-after", retry_after_seconds.to_string()))
            }
            Fault::ServerError(times) if self.count.is_due(times) => {
                Some(error(500, "UNKNOWN", "the disk of this registry is broken"))
            }
            _ => None,
        }
    }

    fn manifest(&self, reference: &str) -> Answer {
        let digest = match self.layout.tagged(reference) {
            Some(tagged) => tagged.digest,
            None => reference.to_owned(),
        };
        let Some(mut bytes) = self.read(&digest) else {
            return error(404, "MANIFEST_UNKNOWN", &format!("manifest unknown: {reference}"));
        };
        let media_type = match self.fault {
            Fault::Schema1 => {
                bytes = json!({ "schemaVersion": 1, "name": "old", "tag": "latest" }).to_string().into_bytes();
                SCHEMA1.to_owned()
            }
            _ => media_type(&bytes),
        };
        if self.fault == Fault::OtherManifest {
            // As JSON the same, and as bytes another.
            bytes.push(b'\n');
        }
        let answer = Answer::new(200, bytes).header("content-type", media_type);
        match self.fault {
            Fault::EndlessManifest => Answer { then: Then::Endless, ..answer },
            // Another digest beside it would be another fault.
            Fault::Schema1 => answer,
            _ => answer.header("docker-content-digest", digest),
        }
    }

    fn blob(&self, digest: &str, first: usize) -> Answer {
        let Some(bytes) = self.read(digest) else {
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        let Some(rest) = bytes.get(first..) else {
            return error(416, "RANGE_INVALID", "the range begins behind the blob");
        };
        let is_layer = !bytes.starts_with(b"{");
        let answer = if is_layer { self.layer(rest.to_vec()) } else { Answer::new(200, rest) };
        let answer = answer.header("content-type", "application/octet-stream").header("accept-ranges", "bytes");
        if first == 0 {
            return answer;
        }
        let range = format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len());
        Answer { status: 206, ..answer }.header("content-range", range)
    }

    fn layer(&self, mut bytes: Vec<u8>) -> Answer {
        let half = bytes.len() / 2;
        let missing = bytes.len() - half;
        let until_half = |then: Then| Answer { then, ..Answer::new(200, &bytes[..half]) };
        match self.fault {
            Fault::CutsLayer(times) if self.count.is_due(times) => until_half(Then::Cut { missing }),
            Fault::StallsLayer(times) if self.count.is_due(times) => until_half(Then::Stall { missing }),
            Fault::ShortLayer => until_half(Then::NextRequest),
            Fault::LongLayer => {
                bytes.push(0);
                Answer::new(200, bytes)
            }
            Fault::FlipsLayer => {
                bytes[half] ^= 1;
                Answer::new(200, bytes)
            }
            _ => Answer::new(200, bytes),
        }
    }

    /// None where it is not what its name says: then it was asked for by something else than a digest.
    fn read(&self, digest: &str) -> Option<Vec<u8>> {
        digest.strip_prefix("sha256:").filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        fs::read(self.layout.blob(digest)).ok()
    }
}

fn media_type(manifest: &[u8]) -> String {
    let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let of_content = if manifest["manifests"].is_array() { INDEX } else { MANIFEST };
    manifest["mediaType"].as_str().unwrap_or(of_content).to_owned()
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let body = json!({ "errors": [{ "code": code, "message": message, "detail": null }] });
    Answer::new(status, body.to_string()).header("content-type", "application/json")
}
