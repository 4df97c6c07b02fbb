//! One item of `volumeMounts`.

use crate::{FilePath, HostPathType, Medium, MountPath, Volume, VolumeFile, VolumeMount};

use super::{
    super::super::{ManifestError, Note, field::Field, kubernetes},
    Named, Placed, directories,
    files::Room,
};

/// Where the kernel's own file systems are in every container.
const OF_THE_KERNEL: [&str; 2] = ["/proc", "/sys"];
const DEVICES: &str = "/dev";
const SHARED_MEMORY: &str = "/dev/shm";

pub(super) fn read(
    item: Field,
    volumes: &mut [Named],
    room: &mut Room,
    notes: &mut Vec<Note>,
) -> Result<Placed, ManifestError> {
    let mut mount = item.mapping()?;
    let (name, path) = (mount.required("name")?, mount.required("mountPath")?);
    let (read_only, sub_path) = (mount.take("readOnly"), mount.take("subPath"));
    mount.finish(&[kubernetes::VOLUME_MOUNT], notes)?;
    let Some(named) = volumes.iter_mut().find(|volume| name.is(&volume.name)) else {
        return Err(name.unsupported("the pod has no volume of this name"));
    };
    if named.is_mounted && matches!(named.volume, Volume::EmptyDir { .. }) {
        return Err(name.unsupported("an `emptyDir` is mounted in one place: not yet in two"));
    }
    named.is_mounted = true;
    let mount_path = directories::path_of(&path, path.text()?)?;
    check(&path, &mount_path, &named.volume)?;
    let volume = match sub_path.filter(|sub_path| !sub_path.is("")) {
        Some(sub_path) => below(&named.volume, &sub_path)?,
        None => named.volume.clone(),
    };
    let read_only = read_only.map(|field| field.boolean()).transpose()?.unwrap_or(false);
    // Files are counted again: a volume may be mounted often.
    let files = files_of(&volume);
    room.take(&path, files.unwrap_or_default().iter().map(|file| file.contents.bytes().len()).sum())?;
    let read_only = read_only || files.is_some();
    let mount = VolumeMount { name: named.name.clone(), mount_path, read_only, volume };
    Ok(Placed { at: path, mount })
}

fn check(field: &Field, path: &MountPath, volume: &Volume) -> Result<(), ManifestError> {
    let is_within = |directory: &str| MountPath::new(directory).is_ok_and(|directory| path.is_within(&directory));
    if OF_THE_KERNEL.into_iter().any(is_within) {
        return Err(field.unsupported("the kernel's own /proc and /sys are there"));
    }
    let is_shared_memory =
        path.as_str() == SHARED_MEMORY && matches!(volume, Volume::EmptyDir { medium: Medium::Memory, .. });
    if is_within(DEVICES) && !is_shared_memory {
        return Err(field.unsupported("of /dev, only /dev/shm can be mounted: an `emptyDir` with `medium: Memory`"));
    }
    Ok(())
}

/// None: it holds whatever is in it.
fn files_of(volume: &Volume) -> Option<&[VolumeFile]> {
    match volume {
        Volume::Files { files } => Some(files),
        Volume::File { file } => Some(std::slice::from_ref(file)),
        Volume::EmptyDir { .. } | Volume::HostPath { .. } => None,
    }
}

/// What of a volume is at `sub_path`.
fn below(volume: &Volume, sub_path: &Field) -> Result<Volume, ManifestError> {
    let text = sub_path.text()?.trim_end_matches('/');
    FilePath::new(text).map_err(|error| sub_path.fail(error))?;
    let files = match volume {
        Volume::EmptyDir { .. } => {
            return Err(sub_path.unsupported("all of an `emptyDir` is mounted: give this mount one of its own"));
        }
        Volume::HostPath { r#type: HostPathType::File, .. } => {
            return Err(sub_path.unsupported("the volume is a file, and has nothing below it"));
        }
        Volume::HostPath { path, .. } => {
            let path = directories::path_of(sub_path, &format!("{path}/{text}"))?;
            return Ok(Volume::HostPath { path, r#type: HostPathType::Any });
        }
        Volume::Files { .. } | Volume::File { .. } => files_of(volume).unwrap_or_default(),
    };
    if let Some(file) = files.iter().find(|file| file.path.as_str() == text) {
        return Ok(Volume::File { file: file.clone() });
    }
    let below = files.iter().filter_map(|file| {
        let path = file.path.as_str().strip_prefix(text)?.strip_prefix('/')?;
        Some(VolumeFile { path: FilePath::new(path).ok()?, ..file.clone() })
    });
    let files: Vec<VolumeFile> = below.collect();
    if files.is_empty() {
        return Err(sub_path.unsupported("the volume has no file of this path"));
    }
    Ok(Volume::Files { files })
}
