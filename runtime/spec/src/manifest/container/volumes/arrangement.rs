//! Mounts of one container, side by side and in one another.

use crate::{FilePath, HostPathType, VOLUME_MOUNTS_MAX, Volume, VolumeMount};

use super::super::super::{ManifestError, Problem, field::Field};

/// A mount and the field that says where.
#[derive(Debug)]
pub(in super::super) struct Placed {
    pub(in super::super) at: Field,
    pub(in super::super) mount: VolumeMount,
}

/// Outer mounts first, so that none hides another.
pub(super) fn arrange(mut placed: Vec<Placed>) -> Result<Vec<VolumeMount>, ManifestError> {
    placed.sort_by_key(|placed| placed.mount.mount_path.as_str().matches('/').count());
    let mut mounts: Vec<VolumeMount> = Vec::new();
    for Placed { at, mount } in placed {
        if let Some(reason) = mounts.iter().find_map(|outer| conflict(outer, &mount)) {
            return Err(at.unsupported(reason));
        }
        mounts.push(mount);
        if mounts.len() > VOLUME_MOUNTS_MAX {
            return Err(at.fail(Problem::TooMany { count: mounts.len(), max: VOLUME_MOUNTS_MAX }));
        }
    }
    Ok(mounts)
}

/// Why `inner` cannot be where it is to be.
fn conflict(outer: &VolumeMount, inner: &VolumeMount) -> Option<String> {
    let VolumeMount { name, mount_path, .. } = outer;
    let rest = inner.mount_path.below(mount_path)?;
    if rest.is_empty() {
        return Some(format!("`{name}` is mounted there too"));
    }
    let files = match &outer.volume {
        Volume::File { .. } | Volume::HostPath { r#type: HostPathType::File, .. } => {
            return Some(format!("`{name}` is a file, and this is below it"));
        }
        Volume::EmptyDir { .. } | Volume::HostPath { .. } => return None,
        Volume::Files { files } => files,
    };
    let is_file = matches!(inner.volume, Volume::File { .. });
    let meets = |path: &FilePath| {
        let path = path.as_str();
        path == rest || is_below(rest, path) || (is_file && is_below(path, rest))
    };
    let file = files.iter().find(|file| meets(&file.path))?;
    Some(format!("the file `{}` of `{name}` is in its way", file.path.name()))
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}
