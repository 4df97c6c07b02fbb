use std::{cell::Cell, collections::BTreeMap};

use crate::{ANNOTATION_PREFIX, FileContents};

use super::{
    super::{
        ManifestError, Note,
        field::{Field, Mapping},
        kubernetes, metadata,
    },
    Kind,
    data::{self, Written},
};

/// As of Kubernetes: parts as of DNS, joined by dots.
const NAME_BYTES_MAX: usize = 253;
/// Types of secrets whose data mean nothing to a cluster either.
const OPAQUE_LIKE: [&str; 4] = ["Opaque", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth", "kubernetes.io/tls"];

/// A config map or a secret.
#[derive(Debug)]
pub(in super::super) struct Object {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// In the order of their keys. They may be secrets and are not shown.
    texts: BTreeMap<String, FileContents>,
    /// `binaryData`, which files can be made of and no variables.
    binaries: BTreeMap<String, FileContents>,
    pub(super) used: Cell<bool>,
    notes: Vec<Note>,
}

impl Object {
    /// The object and the field with its name.
    pub(super) fn read(kind: Kind, mut root: Mapping) -> Result<(Self, Field), ManifestError> {
        let mut notes = Vec::new();
        let head = metadata::read_head(root.required("metadata")?.mapping()?, &mut notes)?;
        if let Some((_, setting)) = head.annotations.iter().find(|(key, _)| key.starts_with(ANNOTATION_PREFIX)) {
            return Err(setting.unsupported("settings are of endpoints: write it with what uses this"));
        }
        if !is_name(head.name.text()?) {
            return Err(head.name.unsupported(
                "it is no name of an object: use 1 to 253 of a-z, 0-9, `-` and `.`, each part between dots beginning and \
                 ending with a letter or digit",
            ));
        }
        // Nobody changes it here in any case.
        root.take("immutable").map(|immutable| immutable.boolean()).transpose()?;
        let (texts, binaries) = match kind {
            Kind::ConfigMap => read_config_map(&mut root)?,
            Kind::Secret => (read_secret(&mut root, &mut notes)?, BTreeMap::new()),
        };
        root.finish(&[], &mut notes)?;
        let name = head.name.text()?.to_owned();
        Ok((Self { kind, name, texts, binaries, used: Cell::new(false), notes }, head.name))
    }

    pub(super) fn is(&self, kind: Kind, name: &str) -> bool {
        self.kind == kind && self.name == name
    }

    /// What a variable may be: of a config map, no binary data.
    pub(in super::super) fn text(&self, key: &str) -> Option<&FileContents> {
        self.texts.get(key)
    }

    pub(in super::super) fn texts(&self) -> impl Iterator<Item = (&str, &FileContents)> {
        self.texts.iter().map(|(key, contents)| (key.as_str(), contents))
    }

    /// What a file may be.
    pub(in super::super) fn file(&self, key: &str) -> Option<&FileContents> {
        self.texts.get(key).or_else(|| self.binaries.get(key))
    }

    pub(in super::super) fn files(&self) -> impl Iterator<Item = (&str, &FileContents)> {
        self.texts.iter().chain(&self.binaries).map(|(key, contents)| (key.as_str(), contents))
    }

    pub(super) fn into_notes(self) -> Vec<Note> {
        let of = format!("{} {}", self.kind.name(), self.name);
        let unused = Note::Ignored { path: of.clone(), reason: "nothing in this file uses it".to_owned() };
        let told = self.notes.into_iter().map(|note| match note {
            Note::Ignored { path, reason } => Note::Ignored { path: format!("{of}: {path}"), reason },
            differs @ Note::Differs { .. } => differs,
        });
        told.chain((!self.used.get()).then_some(unused)).collect()
    }
}

type Data = BTreeMap<String, FileContents>;

fn read_config_map(root: &mut Mapping) -> Result<(Data, Data), ManifestError> {
    let texts = data::read(root.take("data"), Written::Text)?;
    let binaries = data::read(root.take("binaryData"), Written::Base64)?;
    match binaries.iter().find(|datum| texts.iter().any(|text| text.key == datum.key)) {
        Some(both) => Err(both.field.unsupported("`data` has this key too")),
        None => Ok((data::by_key(texts), data::by_key(binaries))),
    }
}

fn read_secret(root: &mut Mapping, notes: &mut Vec<Note>) -> Result<Data, ManifestError> {
    let mut data = data::by_key(data::read(root.take("data"), Written::Base64)?);
    data.extend(data::by_key(data::read(root.take("stringData"), Written::Text)?));
    if let Some(kind) = root.take("type") {
        let text = kind.text()?;
        let own = !text.contains("kubernetes.io/");
        if !own && !OPAQUE_LIKE.contains(&text) {
            kind.note_ignored(kubernetes::SECRET_TYPE_REASON, notes);
        }
    }
    Ok(data)
}

fn is_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(inside) && !part.starts_with('-') && !part.ends_with('-');
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_part)
}
