//! `configMap` and `secret`: what objects hold, as files.

use crate::{FilePath, Volume};

use super::{
    super::{
        super::{
            ManifestError,
            field::{Field, Mapping},
            objects::{Kind, Object},
        },
        sources::Sources,
    },
    files::{self, Files, Room},
};

pub(super) fn read_config_map(field: Field, sources: &Sources<'_>, room: &mut Room) -> Result<Volume, ManifestError> {
    read(field, Kind::ConfigMap, "name", sources, room)
}

pub(super) fn read_secret(field: Field, sources: &Sources<'_>, room: &mut Room) -> Result<Volume, ManifestError> {
    read(field, Kind::Secret, "secretName", sources, room)
}

fn read(
    field: Field,
    kind: Kind,
    name: &'static str,
    sources: &Sources<'_>,
    room: &mut Room,
) -> Result<Volume, ManifestError> {
    let whole = field.clone();
    let mut source = field.mapping()?;
    let default_mode = files::read_mode(source.take("defaultMode"))?;
    let mut files = Files::default();
    let named = Reference { whole: &whole, kind, name: source.required(name)?, default_mode };
    named.read(source, &mut files, sources, room)?;
    Ok(files.into_volume())
}

/// An object that a volume names.
#[derive(Debug)]
pub(super) struct Reference<'a> {
    /// All that is written of it.
    pub(super) whole: &'a Field,
    pub(super) kind: Kind,
    pub(super) name: Field,
    /// Of files that say none of their own, if the volume says one.
    pub(super) default_mode: Option<u32>,
}

impl Reference<'_> {
    /// Reads what is left in `source`: the `items`, and whether all has to be there.
    pub(super) fn read(
        self,
        mut source: Mapping,
        files: &mut Files,
        sources: &Sources<'_>,
        room: &mut Room,
    ) -> Result<(), ManifestError> {
        let (items, optional) = (source.take("items"), source.take("optional"));
        source.finish(&[], &mut Vec::new())?;
        let optional = optional.map(|field| field.boolean()).transpose()?.unwrap_or(false);
        // The items of one that is not there are looked at all the same.
        let object = sources.owner.objects.find(self.kind, &self.name, optional)?;
        let items = items.map(Field::list).transpose()?.unwrap_or_default();
        if items.is_empty() {
            for (key, contents) in object.into_iter().flat_map(Object::files) {
                let path = FilePath::new(key).map_err(|error| self.whole.fail(error))?;
                files.add(self.whole, path, self.mode(None), contents, room)?;
            }
        }
        items.into_iter().try_for_each(|item| self.read_item(item, object, optional, files, room))
    }

    fn read_item(
        &self,
        item: Field,
        object: Option<&Object>,
        optional: bool,
        files: &mut Files,
        room: &mut Room,
    ) -> Result<(), ManifestError> {
        let mut item = item.mapping()?;
        let (key, path, mode) = (item.required("key")?, item.required("path")?, item.take("mode"));
        item.finish(&[], &mut Vec::new())?;
        let (place, mode) = (files::read_path(&path)?, files::read_mode(mode)?);
        let text = key.text()?;
        match object.and_then(|object| object.file(text)) {
            Some(contents) => files.add(&path, place, self.mode(mode), contents, room),
            None if optional => Ok(()),
            None => {
                let kind = self.kind.name();
                Err(key.unsupported(format!("the {kind} has no such key; `optional: true` where it need not")))
            }
        }
    }

    fn mode(&self, own: Option<u32>) -> u32 {
        own.or(self.default_mode).unwrap_or(match self.kind {
            Kind::ConfigMap => files::MODE,
            Kind::Secret => files::MODE_OF_SECRETS,
        })
    }
}
