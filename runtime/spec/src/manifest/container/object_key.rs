//! `configMapKeyRef` and `secretKeyRef`: what is under one key of an object, as a variable.

use super::{
    super::{
        ManifestError,
        field::Field,
        objects::{Kind, Object},
    },
    sources::Sources,
};

/// None: it is not there, and need not be.
pub(super) fn read(field: Field, kind: Kind, sources: &Sources<'_>) -> Result<Option<String>, ManifestError> {
    let mut reference = field.mapping()?;
    let (name, key) = (reference.required("name")?, reference.required("key")?);
    let optional = reference.take("optional").map(|field| field.boolean()).transpose()?.unwrap_or(false);
    reference.finish(&[], &mut Vec::new())?;
    let Some(object) = sources.owner.objects.find(kind, &name, optional)? else { return Ok(None) };
    let Some(contents) = object.text(key.text()?) else {
        return if optional { Ok(None) } else { Err(missing_key(&key, kind, object)) };
    };
    match str::from_utf8(contents.bytes()) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(key.unsupported("what it holds is no UTF-8, which no variable can be: mount it as a file")),
    }
}

fn missing_key(key: &Field, kind: Kind, object: &Object) -> ManifestError {
    let is_binary = key.text().is_ok_and(|text| object.file(text).is_some());
    key.unsupported(if is_binary {
        "no variable is made of `binaryData`: mount it as a file".to_owned()
    } else {
        format!("the {} has no such key; `optional: true` where it need not", kind.name())
    })
}
