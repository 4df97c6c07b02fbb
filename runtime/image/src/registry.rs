//! Images from registries: the pull half of the OCI distribution API.
//!
//! A registry is believed in nothing. What it sends is bounded before it is kept, compared with
//! the digest it was asked by, and read by parsers that know what an image may be. Memory does not
//! depend on what comes: documents have a limit, blobs pass one chunk at a time.
//!
//! [`credentials_for`] is what a command line does, with its caller's rights. [`RegistryClient`] is
//! what the node does, with the credentials that it was handed for this pull and no others.

mod authorization;
mod blob;
mod body;
mod challenge;
mod client;
mod credential_helper;
mod credentials;
mod descriptor;
mod docker_config;
mod document;
mod error;
mod image_config;
mod image_manifest;
mod index;
mod manifest;
mod media_type;
mod origin;
mod platform;
mod refusal;
mod resolver;
mod settings;
mod shown;
#[cfg(test)]
mod tests;
mod token;
mod transport;
mod tries;

pub use blob::BlobSink;
pub use client::{ClientError, RegistryClient, RemoteImage};
pub use credential_helper::HelperError;
pub use credentials::{Credentials, Keyring};
pub use descriptor::Descriptor;
pub use docker_config::{CredentialsError, credentials_for};
pub use document::DocumentError;
pub use error::{Content, Failure, RegistryError};
pub use image_config::{CONFIG_BYTES_MAX, ENV_ENTRIES_MAX, ExposedPort, ImageConfig, Protocol, WORDS_MAX};
pub use image_manifest::{ImageManifest, LAYERS_MAX};
pub use index::{INDEX_ENTRIES_MAX, ImageIndex};
pub use manifest::{FetchedManifest, MANIFEST_BYTES_MAX};
pub use media_type::MediaType;
pub use platform::Platform;
pub use settings::RegistrySettings;
