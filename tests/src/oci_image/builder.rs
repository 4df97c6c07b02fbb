//! An image: its configuration and its layers.

use serde_json::{Value, json};

use super::{Blob, CONFIG, Layer, MANIFEST};

/// One for this machine, with no layer and nothing to run.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    platform: Value,
    config: Value,
    layers: Vec<Layer>,
}

/// What a manifest names, and the manifest.
#[derive(Debug, Clone)]
pub struct Image {
    config: Value,
    manifest: Value,
    layers: Vec<Layer>,
}

impl Default for ImageBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageBuilder {
    #[must_use]
    pub fn new() -> Self {
        let platform = json!({ "architecture": this_architecture(), "os": "linux" });
        Self { platform, config: json!({}), layers: Vec::new() }
    }

    /// One whose one layer has one small file of this content.
    #[must_use]
    pub fn of_file(path: &str, content: &str) -> Self {
        let layer = super::LayerBuilder::new(super::Compression::Gzip).file(path, content);
        Self::new().layer(layer.build())
    }

    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    #[must_use]
    pub fn entrypoint(self, arguments: &[&str]) -> Self {
        self.set("Entrypoint", json!(arguments))
    }

    #[must_use]
    pub fn cmd(self, arguments: &[&str]) -> Self {
        self.set("Cmd", json!(arguments))
    }

    /// Each `NAME=VALUE`.
    #[must_use]
    pub fn env(self, variables: &[&str]) -> Self {
        self.set("Env", json!(variables))
    }

    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.set("User", json!(user))
    }

    #[must_use]
    pub fn working_directory(self, path: &str) -> Self {
        self.set("WorkingDir", json!(path))
    }

    #[must_use]
    pub fn stop_signal(self, signal: &str) -> Self {
        self.set("StopSignal", json!(signal))
    }

    /// As `8080/tcp`.
    #[must_use]
    pub fn exposed_port(mut self, port: &str) -> Self {
        self.config["ExposedPorts"][port] = json!({});
        self
    }

    /// In the words of Go, as `arm64`.
    #[must_use]
    pub fn platform(mut self, os: &str, architecture: &str) -> Self {
        self.platform = json!({ "architecture": architecture, "os": os });
        self
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    #[must_use]
    pub fn build(self) -> Image {
        let Self { mut platform, config, layers } = self;
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        platform["config"] = config;
        platform["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        let descriptors: Vec<Value> = layers.iter().map(|layer| layer.blob.descriptor()).collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors });
        Image { config: platform, manifest, layers }.alter_config(|_| ())
    }
}

impl Image {
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    #[must_use]
    pub fn config(&self) -> Blob {
        Blob::json(CONFIG, &self.config)
    }

    #[must_use]
    pub fn manifest(&self) -> Blob {
        Blob::json(MANIFEST, &self.manifest)
    }

    #[must_use]
    pub fn digest(&self) -> String {
        self.manifest().digest()
    }

    /// The descriptor in an index, which tells the platform.
    pub(super) fn descriptor(&self) -> Value {
        let mut descriptor = self.manifest().descriptor();
        descriptor["platform"] = json!({ "architecture": self.config["architecture"], "os": self.config["os"] });
        descriptor
    }

    /// Another configuration, which the manifest names.
    #[must_use]
    pub fn alter_config(mut self, alter: impl FnOnce(&mut Value)) -> Self {
        alter(&mut self.config);
        self.manifest["config"] = self.config().descriptor();
        self
    }

    /// Another manifest, whatever the blobs are.
    #[must_use]
    pub fn alter_manifest(mut self, alter: impl FnOnce(&mut Value)) -> Self {
        alter(&mut self.manifest);
        self
    }
}

/// As OCI spells it.
#[must_use]
pub fn this_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
