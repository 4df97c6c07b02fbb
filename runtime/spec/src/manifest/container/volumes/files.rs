//! The files of one volume, as they are put together.

use std::collections::HashSet;

use crate::{FileContents, FilePath, VOLUME_BYTES_MAX, VOLUME_FILES_MAX, Volume, VolumeFile};

use super::super::super::{ManifestError, Problem, field::Field};

/// Of config maps and of what a pod says of itself: Kubernetes' 0644, without what nobody can do.
pub(super) const MODE: u32 = 0o444;
/// Of secrets, which are nobody's business but that of who runs the process.
pub(super) const MODE_OF_SECRETS: u32 = 0o400;
const MODE_MAX: u32 = 0o777;

/// What is left for files in all volumes of a pod.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Room {
    pub(super) fn new() -> Self {
        Self(VOLUME_BYTES_MAX)
    }

    pub(super) fn take(&mut self, field: &Field, bytes: usize) -> Result<(), ManifestError> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| field.fail(Problem::VolumesTooLarge))?;
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(super) struct Files {
    files: Vec<VolumeFile>,
    paths: HashSet<String>,
    directories: HashSet<String>,
}

impl Files {
    /// An error is one of `field`'s.
    pub(super) fn add(
        &mut self,
        field: &Field,
        path: FilePath,
        mode: u32,
        contents: &FileContents,
        room: &mut Room,
    ) -> Result<(), ManifestError> {
        room.take(field, contents.bytes().len())?;
        let text = path.as_str();
        let above: Vec<&str> = text.match_indices('/').filter_map(|(end, _)| text.get(..end)).collect();
        let is_free = !self.paths.contains(text)
            && !self.directories.contains(text)
            && !above.iter().any(|directory| self.paths.contains(*directory));
        if !is_free {
            let name = path.name();
            return Err(field.unsupported(format!(
                "the volume has another file at this path, `{name}`: name other paths in `items`"
            )));
        }
        self.directories.extend(above.into_iter().map(str::to_owned));
        self.paths.insert(text.to_owned());
        self.files.push(VolumeFile { mode, contents: contents.clone(), path });
        if self.files.len() > VOLUME_FILES_MAX {
            return Err(field.fail(Problem::TooMany { count: self.files.len(), max: VOLUME_FILES_MAX }));
        }
        Ok(())
    }

    pub(super) fn into_volume(self) -> Volume {
        Volume::Files { files: self.files }
    }
}

/// A file's path within its volume. Names that begin with `..` are a kubelet's own.
pub(super) fn read_path(field: &Field) -> Result<FilePath, ManifestError> {
    let text = field.text()?;
    if text.starts_with("..") {
        return Err(field.unsupported("it begins with `..`"));
    }
    FilePath::new(text).map_err(|error| field.fail(error))
}

pub(super) fn read_mode(field: Option<Field>) -> Result<Option<u32>, ManifestError> {
    field.map(|field| field.count(0, MODE_MAX, "a mode is from 0 to 0777")).transpose()
}
