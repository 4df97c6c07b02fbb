//! An OCI image layout: a directory of blobs, and an index that says which of them have names.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Blob, INDEX, Image};

const NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Debug, Clone)]
pub struct Layout {
    directory: PathBuf,
}

/// What a layout knows by a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    pub media_type: String,
    pub digest: String,
}

impl Layout {
    /// An empty one.
    ///
    /// # Panics
    /// Where it cannot be made.
    #[must_use]
    pub fn create(directory: impl Into<PathBuf>) -> Self {
        let layout = Self { directory: directory.into() };
        fs::create_dir_all(layout.directory.join("blobs/sha256")).unwrap();
        fs::write(layout.directory.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string()).unwrap();
        layout.write_index(&[]);
        layout
    }

    /// One that some tool made.
    #[must_use]
    pub fn open(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// A layout of one image.
    #[must_use]
    pub fn of(directory: impl Into<PathBuf>, image: &Image, tag: &str) -> Self {
        let layout = Self::create(directory);
        layout.add(image, tag);
        layout
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes an image under a tag that it has not.
    pub fn add(&self, image: &Image, tag: &str) {
        self.write_image(image);
        self.tag(image.manifest().descriptor(), tag);
    }

    /// Writes images that are one of several platforms, and returns the digest of their index.
    pub fn add_index(&self, images: &[Image], tag: &str) -> String {
        images.iter().for_each(|image| self.write_image(image));
        let descriptors: Vec<Value> = images.iter().map(Image::descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors });
        let index = Blob::json(INDEX, &index);
        self.write(&index);
        self.tag(index.descriptor(), tag);
        index.digest()
    }

    fn write_image(&self, image: &Image) {
        let own = [image.config(), image.manifest()];
        let layers = image.layers().iter().map(|layer| &layer.blob);
        own.iter().chain(layers).for_each(|blob| self.write(blob));
    }

    fn write(&self, blob: &Blob) {
        fs::write(self.blob(&blob.digest()), &blob.bytes).unwrap();
    }

    fn tag(&self, mut descriptor: Value, tag: &str) {
        descriptor["annotations"] = json!({ NAME: tag });
        let mut tagged = self.index();
        tagged.push(descriptor);
        self.write_index(&tagged);
    }

    fn index(&self) -> Vec<Value> {
        // One that never had an image may have no index.
        let Ok(text) = fs::read(self.directory.join("index.json")) else { return Vec::new() };
        let index: Value = serde_json::from_slice(&text).unwrap();
        index["manifests"].as_array().expect("manifests").clone()
    }

    fn write_index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        fs::write(self.directory.join("index.json"), index.to_string()).unwrap();
    }

    /// What has this tag.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> Option<Tagged> {
        let tagged = self.index().into_iter().find(|it| it["annotations"][NAME] == tag)?;
        let text = |key: &str| tagged[key].as_str().expect("a text").to_owned();
        Some(Tagged { media_type: text("mediaType"), digest: text("digest") })
    }

    /// The manifest, or the index of several, that has this tag.
    ///
    /// # Panics
    /// Where none has.
    #[must_use]
    pub fn manifest(&self, tag: &str) -> Value {
        let tagged = self.tagged(tag).unwrap_or_else(|| panic!("nothing in {} is {tag}", self.directory.display()));
        serde_json::from_slice(&fs::read(self.blob(&tagged.digest)).unwrap()).unwrap()
    }

    /// Digests of an image's layers.
    ///
    /// # Panics
    /// As [`Self::manifest`].
    #[must_use]
    pub fn layers(&self, tag: &str) -> Vec<String> {
        let manifest = self.manifest(tag);
        let layers = manifest["layers"].as_array().expect("layers").iter();
        layers.map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
    }

    /// Digests of all blobs that are there.
    ///
    /// # Panics
    /// Where something else is among them.
    #[must_use]
    pub fn blobs(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.directory.join("blobs/sha256")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let is_digest = |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        names.inspect(|name| assert!(is_digest(name), "{name} is no blob")).map(|hex| format!("sha256:{hex}")).collect()
    }

    /// Digests of all blobs that its index leads to.
    ///
    /// # Panics
    /// Where one of them is not there.
    #[must_use]
    pub fn reachable(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut documents = self.index();
        while let Some(descriptor) = documents.pop() {
            let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
            let document: Value = serde_json::from_slice(&fs::read(self.blob(&digest)).unwrap()).unwrap();
            let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
            let blobs = [list("layers"), vec![document["config"].clone()]].concat();
            found.extend(blobs.iter().filter_map(|blob| Some(blob["digest"].as_str()?.to_owned())));
            documents.extend(list("manifests"));
            found.insert(digest);
        }
        found
    }

    /// Where the blob of a digest is, if it is there.
    ///
    /// # Panics
    /// Where that is no digest.
    #[must_use]
    pub fn blob(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').expect("a digest");
        self.directory.join("blobs").join(algorithm).join(hex)
    }

    /// How a tool names one of its images.
    #[must_use]
    pub fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.directory.display())
    }
}
