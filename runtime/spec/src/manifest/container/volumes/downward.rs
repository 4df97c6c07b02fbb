//! `downwardAPI`: what a pod says of itself, as files.

use crate::{FileContents, Volume};

use super::{
    super::{
        super::{ManifestError, Problem, field::Field},
        pod_field, resource_field,
        sources::{Place, Sources},
    },
    files::{self, Files, Room},
};

pub(super) fn read(field: Field, sources: &Sources<'_>, room: &mut Room) -> Result<Volume, ManifestError> {
    let mut source = field.mapping()?;
    let default_mode = files::read_mode(source.take("defaultMode"))?;
    let items = source.take("items");
    source.finish(&[], &mut Vec::new())?;
    let mut files = Files::default();
    read_items(items, default_mode, &mut files, sources, room)?;
    Ok(files.into_volume())
}

pub(super) fn read_items(
    items: Option<Field>,
    default_mode: Option<u32>,
    files: &mut Files,
    sources: &Sources<'_>,
    room: &mut Room,
) -> Result<(), ManifestError> {
    for item in items.map(Field::list).transpose()?.unwrap_or_default() {
        let mut item = item.mapping()?;
        let (path, mode) = (item.required("path")?, item.take("mode"));
        let (pod, resource) = (item.take("fieldRef"), item.take("resourceFieldRef"));
        let missing =
            item.fail(Problem::Unsupported("it names nothing: write `fieldRef` or `resourceFieldRef`".to_owned()));
        item.finish(&[], &mut Vec::new())?;
        let text = match (pod, resource) {
            (Some(_), Some(resource)) => return Err(resource.unsupported("the file has a `fieldRef` too")),
            (Some(pod), None) => pod_field::read(pod, sources.owner, Place::File)?,
            (None, Some(resource)) => resource_field::read(resource, sources, Place::File)?,
            (None, None) => return Err(missing),
        };
        let mode = files::read_mode(mode)?.or(default_mode).unwrap_or(files::MODE);
        files.add(&path, files::read_path(&path)?, mode, &FileContents::new(text.into_bytes()), room)?;
    }
    Ok(())
}
