//! `data`, `binaryData` and `stringData`: keys and what is under them, none of which an error may show.

use std::collections::BTreeMap;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, general_purpose::PAD},
};

use crate::FileContents;

use super::super::{ManifestError, field::Field};

const KEY_BYTES_MAX: usize = 253;
/// As kubectl reads it, which does not look at the bits behind the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// How contents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Text,
    Base64,
}

#[derive(Debug)]
pub(super) struct Datum {
    pub(super) key: String,
    pub(super) contents: FileContents,
    pub(super) field: Field,
}

pub(super) fn read(field: Option<Field>, written: Written) -> Result<Vec<Datum>, ManifestError> {
    let entries = field.map(Field::entries).transpose()?.unwrap_or_default();
    entries
        .into_iter()
        .map(|(key, field)| {
            if !is_key(&key) {
                return Err(
                    field.unsupported("a key is 1 to 253 of A-Z, a-z, 0-9, `-`, `_` and `.`, and begins with no `..`")
                );
            }
            let contents = FileContents::new(bytes(&field, written)?);
            Ok(Datum { key, contents, field })
        })
        .collect()
}

pub(super) fn by_key(data: Vec<Datum>) -> BTreeMap<String, FileContents> {
    data.into_iter().map(|datum| (datum.key, datum.contents)).collect()
}

fn bytes(field: &Field, written: Written) -> Result<Vec<u8>, ManifestError> {
    let text = field.any_text()?;
    if written == Written::Text {
        return Ok(text.as_bytes().to_vec());
    }
    // The decoder's own error would show a byte.
    let not_base64 = |_| {
        field.unsupported("it is not base64: plain text goes under `data` of a ConfigMap, or `stringData` of a Secret")
    };
    let unfolded: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    BASE64.decode(unfolded).map_err(not_base64)
}

fn is_key(key: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(inside) && key != "." && !key.starts_with("..")
}
