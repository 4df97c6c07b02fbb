//! `volumes` of a pod and `volumeMounts` of its container: an `emptyDir` may be where one is anyway.

use super::super::{ManifestError, Note, field::Field, kubernetes};

/// Writable in every container, and gone with it.
const MOUNTED_ANYWAY: [&str; 2] = ["/tmp", "/dev/shm"];

/// A volume of a pod.
#[derive(Debug)]
pub(in super::super) struct Volume {
    name: String,
    /// What to say of it where nothing mounts it.
    unused: Vec<Note>,
}

pub(in super::super) fn of_pod(field: Field, notes: &mut Vec<Note>) -> Result<Vec<Volume>, ManifestError> {
    field.list()?.into_iter().map(|item| read_volume(item, notes)).collect()
}

fn read_volume(item: Field, notes: &mut Vec<Note>) -> Result<Volume, ManifestError> {
    let mut unused = Vec::new();
    item.note_ignored("nothing mounts it", &mut unused);
    let mut volume = item.mapping()?;
    let name = volume.required("name")?.text()?.to_owned();
    let empty = volume.take("emptyDir");
    volume.finish(&[kubernetes::VOLUME], notes)?;
    // A volume that says nothing of itself is an emptyDir.
    if let Some(empty) = empty {
        let mut empty = empty.mapping()?;
        if let Some(medium) = empty.take("medium").filter(|medium| !medium.is("") && !medium.is("Memory")) {
            return Err(medium.unsupported("what a replica writes is memory, of ordinary pages"));
        }
        empty.finish(&[kubernetes::EMPTY_DIR], notes)?;
    }
    Ok(Volume { name, unused })
}

/// Checks the mounts of the pod's only container.
pub(super) fn mount(mounts: Option<Field>, volumes: Vec<Volume>, notes: &mut Vec<Note>) -> Result<(), ManifestError> {
    let mounts = mounts.map(Field::list).transpose()?.unwrap_or_default();
    let mut unused: Vec<Volume> = volumes;
    let names: Vec<String> = unused.iter().map(|volume| volume.name.clone()).collect();
    for item in mounts {
        let name = read_mount(item, &names, notes)?;
        unused.retain(|volume| volume.name != name);
    }
    notes.extend(unused.into_iter().flat_map(|volume| volume.unused));
    Ok(())
}

fn read_mount(item: Field, volumes: &[String], notes: &mut Vec<Note>) -> Result<String, ManifestError> {
    let mut mount = item.mapping()?;
    let (name, path) = (mount.required("name")?, mount.required("mountPath")?);
    mount.finish(&[kubernetes::VOLUME_MOUNT], notes)?;
    if !volumes.iter().any(|volume| name.is(volume)) {
        return Err(name.unsupported("the pod has no volume of this name"));
    }
    let trimmed = path.text()?.trim_end_matches('/');
    if !MOUNTED_ANYWAY.contains(&trimmed) {
        return Err(path.unsupported("only /tmp and /dev/shm are mounted, in every container: others not yet"));
    }
    Ok(name.text()?.to_owned())
}
