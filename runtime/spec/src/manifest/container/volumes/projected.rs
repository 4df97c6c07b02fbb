//! `projected`: files of several objects in one volume.

use crate::Volume;

use super::{
    super::{
        super::{ManifestError, Problem, field::Field, kubernetes, objects::Kind},
        sources::Sources,
    },
    downward,
    files::{self, Files, Room},
    objects::Reference,
};

const SOURCES: [&str; 3] = ["configMap", "downwardAPI", "secret"];

pub(super) fn read(field: Field, sources: &Sources<'_>, room: &mut Room) -> Result<Volume, ManifestError> {
    let mut projected = field.mapping()?;
    let (items, default_mode) = (projected.take("sources"), files::read_mode(projected.take("defaultMode"))?);
    projected.finish(&[], &mut Vec::new())?;
    let mut files = Files::default();
    for item in items.map(Field::list).transpose()?.unwrap_or_default() {
        read_source(item, default_mode, &mut files, sources, room)?;
    }
    Ok(files.into_volume())
}

fn read_source(
    item: Field,
    default_mode: Option<u32>,
    files: &mut Files,
    sources: &Sources<'_>,
    room: &mut Room,
) -> Result<(), ManifestError> {
    let mut item = item.mapping()?;
    let taken: Vec<_> = SOURCES.into_iter().filter_map(|source| Some((source, item.take(source)?))).collect();
    let nothing = item.fail(Problem::Unsupported(format!("it names nothing: write one of {}", SOURCES.join(", "))));
    item.finish(&[kubernetes::PROJECTED_SOURCE], &mut Vec::new())?;
    let mut taken = taken.into_iter();
    let (name, whole) = taken.next().ok_or(nothing)?;
    if let Some((_, second)) = taken.next() {
        return Err(second.unsupported(format!("the source is a `{name}` too: write two")));
    }
    let mut source = whole.clone().mapping()?;
    let kind = match name {
        "configMap" => Kind::ConfigMap,
        "secret" => Kind::Secret,
        _ => {
            let items = source.take("items");
            source.finish(&[], &mut Vec::new())?;
            return downward::read_items(items, default_mode, files, sources, room);
        }
    };
    let named = Reference { whole: &whole, kind, name: source.required("name")?, default_mode };
    named.read(source, files, sources, room)
}
