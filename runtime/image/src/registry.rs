//! Images from registries: the pull half of the OCI distribution API.
//!
//! A registry is believed in nothing. What it sends is bounded before it is kept, compared with
//! the digest it was asked by, and read by parsers that know what an image may be. Memory does not
//! depend on what comes: documents have a limit, blobs pass one chunk at a time.
//!
//! [`credentials_for`] is what a command line does, with its caller's rights, and [`credentials_in`] what the node
//! does with a file of its own. [`RegistryClient`] is
//! what the node does, with the credentials that it was handed for this pull and no others.

mod authorization;
mod blob;
mod body;
mod challenge;
mod client;
mod credential_helper;
mod credentials;
mod docker_config;
mod error;
mod manifest;
mod origin;
mod refusal;
mod resolver;
mod settings;
#[cfg(test)]
mod tests;
mod token;
mod transport;
mod tries;

pub use blob::BlobSink;
pub use client::{ClientError, RegistryClient, RemoteImage};
pub use credential_helper::HelperError;
pub use credentials::{Credentials, Keyring};
pub use docker_config::{CredentialsError, credentials_for, credentials_in};
pub use error::{Content, Failure, RegistryError};
pub use manifest::FetchedManifest;
pub use settings::RegistrySettings;

use crate::oci::{CONFIG_BYTES_MAX, Descriptor, ImageManifest, MANIFEST_BYTES_MAX, MediaType};
