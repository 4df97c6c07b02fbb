//! Layers of images as a test makes them, entry by entry and as hostile as it likes, and where they are kept.

use std::{
    fs,
    io::Write,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use dormouse_sandbox::messages::{Compression, Event, LeftOut, Request};
use dormouse_spec::Digest;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::{daemon::NODE_USER, node::Node};

/// More than any layer here unpacks to, in bytes.
pub const BYTES_MAX: u64 = 64 << 20;

/// What the node may ask a layer to be, in bytes.
pub const LAYER_BYTES_MAX: u64 = 16 << 30;

/// An archive that is being made.
#[derive(Debug, Clone, Default)]
pub struct Archive(Vec<u8>);

/// What a header says where a test does not.
fn header(kind: EntryType, name: &[u8]) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(0);
    header
}

impl Archive {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry as the test wants it; its size is that of its data.
    #[must_use]
    pub fn entry(mut self, kind: EntryType, name: &str, data: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = header(kind, name.as_bytes());
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    #[must_use]
    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, data, |_| {})
    }

    #[must_use]
    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, b"", |_| {})
    }

    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, b"", |header| header.set_link_name_literal(target).unwrap())
    }

    #[must_use]
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, b"", |header| header.set_link_name_literal(target).unwrap())
    }

    /// An extended header for the entry that follows.
    #[must_use]
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            // The length counts its own digits.
            let length = (1..).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
            text.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", &text, |_| {})
    }

    /// With its end.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1_024, 0);
        self.0
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    pub blob: Digest,
    pub diff_id: Digest,
    pub compression: Compression,
}

/// What was told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    pub bytes: u64,
    pub entries: u64,
    pub left_out: LeftOut,
}

#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// Puts a layer's blob where the node would have.
#[must_use]
pub fn store(data: &Path, contents: &[u8], compression: Compression) -> Blob {
    let bytes = match compression {
        Compression::None => contents.to_vec(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(contents).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => ruzstd::encoding::compress_to_vec(contents, ruzstd::encoding::CompressionLevel::Fastest),
    };
    let blob = digest(&bytes);
    let path = blob_path(data, &blob);
    fs::write(&path, bytes).unwrap();
    give_to_node(&path);
    Blob { blob, diff_id: digest(contents), compression }
}

/// Makes what the node's store of images has, where there is nothing of it.
pub fn make_store(data: &Path) {
    let blobs = data.join("images/blobs");
    if fs::symlink_metadata(&blobs).is_err() {
        fs::create_dir_all(blobs.join("sha256")).unwrap();
        [blobs.join("sha256"), blobs].iter().for_each(|directory| give_to_node(directory));
    }
}

pub fn give_to_node(path: &Path) {
    let node = nix::unistd::User::from_name(NODE_USER).unwrap().expect("every machine has it").uid.as_raw();
    chown(path, Some(node), None).unwrap();
}

#[must_use]
pub fn blob_path(data: &Path, blob: &Digest) -> PathBuf {
    data.join("images/blobs/sha256").join(blob.hex())
}

#[must_use]
pub fn layer_path(data: &Path, diff_id: &Digest) -> PathBuf {
    data.join("layers").join(diff_id.directory_name())
}

/// The root of what was unpacked.
#[must_use]
pub fn tree(data: &Path, diff_id: &Digest) -> PathBuf {
    layer_path(data, diff_id).join("sealed/tree")
}

/// What is in the directory of layers, in order.
#[must_use]
pub fn listed(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("layers")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

impl Node {
    pub fn ask_to_unpack(&self, blob: &Blob) {
        self.ask_to_unpack_within(blob, BYTES_MAX);
    }

    pub fn ask_to_unpack_within(&self, blob: &Blob, bytes_max: u64) {
        let Blob { blob, diff_id, compression } = *blob;
        self.ask(&Request::UnpackLayer { blob, diff_id, compression, bytes_max });
    }

    /// Asks, and hears what came of it.
    pub fn unpack(&mut self, blob: &Blob) -> Result<Unpacked, String> {
        self.ask_to_unpack(blob);
        self.unpacked(&blob.diff_id)
    }

    /// What comes of a layer that was asked for.
    pub fn unpacked(&mut self, layer: &Digest) -> Result<Unpacked, String> {
        match self.of_layer(layer) {
            Event::LayerUnpacked { bytes, entries, left_out, .. } => Ok(Unpacked { bytes, entries, left_out }),
            Event::LayerFailed { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    pub fn remove_layer(&mut self, layer: &Digest) {
        self.ask(&Request::RemoveLayer { diff_id: *layer });
        assert_eq!(self.of_layer(layer), Event::LayerRemoved { diff_id: *layer });
    }
}
