//! `emptyDir` and `hostPath`.

use crate::{Bytes, HostPathType, Medium, MountPath, Volume};

use super::super::super::{ManifestError, Note, field::Field, kubernetes, resources};

pub(super) fn read_empty_dir(field: Option<Field>, notes: &mut Vec<Note>) -> Result<Volume, ManifestError> {
    let Some(field) = field else { return Ok(Volume::EmptyDir { medium: Medium::Disk, size_limit: None }) };
    let mut empty = field.mapping()?;
    let (medium, size_limit) = (empty.take("medium"), empty.take("sizeLimit"));
    empty.finish(&[kubernetes::EMPTY_DIR], notes)?;
    let medium = match medium {
        Some(medium) if medium.is("Memory") => Medium::Memory,
        Some(medium) if !medium.is("") => {
            return Err(medium.unsupported("an `emptyDir` is on disk, or `Memory` of ordinary pages"));
        }
        _ => Medium::Disk,
    };
    let size_limit = size_limit.map(|limit| resources::quantity::<Bytes>(&limit)).transpose()?;
    // No limit, as a kubelet has it.
    Ok(Volume::EmptyDir { medium, size_limit: size_limit.filter(|limit| limit.get() > 0) })
}

pub(super) fn read_host_path(field: Field) -> Result<Volume, ManifestError> {
    let mut host = field.mapping()?;
    let (path, kind) = (host.required("path")?, host.take("type"));
    host.finish(&[], &mut Vec::new())?;
    let r#type = kind.map_or(Ok(HostPathType::Any), |kind| host_path_type(&kind))?;
    Ok(Volume::HostPath { path: path_of(&path, path.text()?)?, r#type })
}

fn host_path_type(field: &Field) -> Result<HostPathType, ManifestError> {
    Err(field.unsupported(match field.text()? {
        "" => return Ok(HostPathType::Any),
        "Directory" => return Ok(HostPathType::Directory),
        "File" => return Ok(HostPathType::File),
        "DirectoryOrCreate" => "nothing is made on the node: make the directory, and write `Directory`",
        "FileOrCreate" => "nothing is made on the node: make the file, and write `File`",
        _ => "only directories and files are mounted, neither sockets nor devices",
    }))
}

/// `text` is what `field` says, or more.
pub(super) fn path_of(field: &Field, text: &str) -> Result<MountPath, ManifestError> {
    MountPath::new(text).map_err(|error| field.fail(error))
}
