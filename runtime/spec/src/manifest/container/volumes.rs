//! `volumes` of a pod and `volumeMounts` of its container, put together.

mod arrangement;
mod directories;
mod downward;
mod files;
mod mounts;
mod objects;
mod projected;

use crate::{EndpointName, VOLUME_MOUNTS_MAX, Volume, VolumeMount};

use super::{
    super::{ManifestError, Note, field::Field, kubernetes},
    sources::Sources,
    storage_uri::Storage,
};
use files::Room;

pub(super) use arrangement::Placed;

/// The fields that say what is mounted.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) volumes: Option<Field>,
    pub(super) mounts: Option<Field>,
    pub(super) storage: Option<Storage>,
}

/// A volume of a pod.
#[derive(Debug)]
struct Named {
    name: String,
    volume: Volume,
    is_mounted: bool,
    /// What to say of it where nothing mounts it.
    unused: Vec<Note>,
}

impl Written {
    /// Outer mounts first.
    pub(super) fn read(self, sources: &Sources<'_>, notes: &mut Vec<Note>) -> Result<Vec<VolumeMount>, ManifestError> {
        let mut volumes = read_volumes(self.volumes, sources, notes)?;
        let mounts = self.mounts.map(|mounts| mounts.list_of(VOLUME_MOUNTS_MAX)).transpose()?.unwrap_or_default();
        let mut room = Room::new();
        let mut placed = Vec::new();
        for item in mounts {
            placed.push(mounts::read(item, &mut volumes, &mut room, notes)?);
        }
        placed.extend(self.storage.map(Storage::into_mount).transpose()?);
        notes.extend(volumes.into_iter().filter(|volume| !volume.is_mounted).flat_map(|volume| volume.unused));
        arrangement::arrange(placed)
    }
}

fn read_volumes(
    field: Option<Field>,
    sources: &Sources<'_>,
    notes: &mut Vec<Note>,
) -> Result<Vec<Named>, ManifestError> {
    let mut volumes: Vec<Named> = Vec::new();
    let mut room = Room::new();
    for item in field.map(|field| field.list_of(VOLUME_MOUNTS_MAX)).transpose()?.unwrap_or_default() {
        let mut unused = Vec::new();
        item.note_ignored("nothing mounts it", &mut unused);
        let (name, volume) = read_volume(item, sources, &mut room, notes)?;
        let text = name.text()?;
        // The same as of a name of an endpoint.
        if text.parse::<EndpointName>().is_err() {
            return Err(name.unsupported("a volume's name is 1 to 63 of a-z, 0-9 and `-`"));
        }
        if volumes.iter().any(|other| other.name == text) {
            return Err(name.unsupported("the pod has two volumes of this name"));
        }
        volumes.push(Named { name: text.to_owned(), volume, is_mounted: false, unused });
    }
    Ok(volumes)
}

const SOURCES: [&str; 6] = ["configMap", "downwardAPI", "emptyDir", "hostPath", "projected", "secret"];

/// Its name and what it is: one that says nothing of itself is an `emptyDir`.
fn read_volume(
    item: Field,
    sources: &Sources<'_>,
    room: &mut Room,
    notes: &mut Vec<Note>,
) -> Result<(Field, Volume), ManifestError> {
    let mut volume = item.mapping()?;
    let name = volume.required("name")?;
    let taken: Vec<_> = SOURCES.into_iter().filter_map(|source| Some((source, volume.take(source)?))).collect();
    volume.finish(&[kubernetes::VOLUME], notes)?;
    let mut taken = taken.into_iter();
    let (first, second) = (taken.next(), taken.next());
    let volume = match (first, second) {
        (Some((first, _)), Some((_, second))) => {
            return Err(second.unsupported(format!("the volume is a `{first}` too: write two volumes")));
        }
        (Some(("configMap", field)), None) => objects::read_config_map(field, sources, room)?,
        (Some(("downwardAPI", field)), None) => downward::read(field, sources, room)?,
        (Some(("hostPath", field)), None) => directories::read_host_path(field)?,
        (Some(("projected", field)), None) => projected::read(field, sources, room)?,
        (Some(("secret", field)), None) => objects::read_secret(field, sources, room)?,
        (empty_dir, _) => directories::read_empty_dir(empty_dir.map(|(_, field)| field), notes)?,
    };
    Ok((name, volume))
}
