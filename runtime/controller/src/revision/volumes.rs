//! The volumes of a container as the spawner is told of them, and what is in those that are files. Pure.

use dormouse_sandbox::messages::{ImageVolume, VOLUME_BYTES_MAX, VolumeSource};
use dormouse_spec::{
    Container, Digest, EMPTY_DIR_DISK_DEFAULT, Limits, Medium, MountPath, VOLUME_MOUNTS_MAX, Volume, VolumeFile,
    VolumeMount,
};
use sha2::{Digest as _, Sha256};

/// Why a container's volumes cannot be mounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("it has {0} volumes mounted, more than {VOLUME_MOUNTS_MAX}")]
    Many(usize),
    #[error("two volumes are mounted at {0}")]
    Twice(MountPath),
    #[error("the volume `{name}` holds {bytes} bytes as they are kept, more than {VOLUME_BYTES_MAX}")]
    Large { name: String, bytes: usize },
    #[error("the volume `{name}` is in memory, and its limit is over the replica's memory of {memory}", memory = .limits.memory)]
    Memory { name: String, limits: Limits },
}

/// What one volume of files holds, under its name in the store of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) name: Digest,
    pub(crate) bytes: Vec<u8>,
}

pub(super) fn of(container: &Container, limits: &Limits) -> Result<(Vec<ImageVolume>, Vec<Contents>), VolumeError> {
    let mut mounts: Vec<&VolumeMount> = container.volume_mounts.iter().collect();
    if mounts.len() > VOLUME_MOUNTS_MAX {
        return Err(VolumeError::Many(mounts.len()));
    }
    // What is below another comes after it.
    mounts.sort_by(|one, other| one.mount_path.cmp(&other.mount_path));
    let both = mounts.iter().zip(mounts.iter().skip(1));
    if let Some((twice, _)) = both.into_iter().find(|(one, other)| one.mount_path == other.mount_path) {
        return Err(VolumeError::Twice(twice.mount_path.clone()));
    }
    let mut contents = Vec::new();
    let volumes = mounts.into_iter().map(|mount| {
        let source = source(mount, limits, &mut contents)?;
        let read_only = mount.read_only || matches!(mount.volume, Volume::Files { .. } | Volume::File { .. });
        Ok(ImageVolume { at: mount.mount_path.clone(), read_only, source })
    });
    let volumes = volumes.collect::<Result<_, _>>()?;
    Ok((volumes, contents))
}

fn source(mount: &VolumeMount, limits: &Limits, contents: &mut Vec<Contents>) -> Result<VolumeSource, VolumeError> {
    let mut keep = |files: &[VolumeFile]| {
        let kept = contents_of(&mount.name, files)?;
        let name = kept.name;
        contents.push(kept);
        Ok(name)
    };
    match &mount.volume {
        Volume::EmptyDir { medium: Medium::Disk, size_limit } => {
            Ok(VolumeSource::Disk { bytes: size_limit.unwrap_or(EMPTY_DIR_DISK_DEFAULT) })
        }
        Volume::EmptyDir { medium: Medium::Memory, size_limit } => {
            let bytes = size_limit.unwrap_or(limits.tmp);
            if bytes > limits.memory {
                return Err(VolumeError::Memory { name: mount.name.clone(), limits: *limits });
            }
            Ok(VolumeSource::Memory { bytes })
        }
        Volume::HostPath { path, r#type } => Ok(VolumeSource::Host { path: path.clone(), r#type: *r#type }),
        Volume::Files { files } => Ok(VolumeSource::Files { contents: keep(files)? }),
        Volume::File { file } => Ok(VolumeSource::File { contents: keep(std::slice::from_ref(file))? }),
    }
}

fn contents_of(name: &str, files: &[VolumeFile]) -> Result<Contents, VolumeError> {
    // Of texts and numbers: they can all be written.
    let bytes = serde_json::to_vec(files).unwrap_or_default();
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > VOLUME_BYTES_MAX) {
        return Err(VolumeError::Large { name: name.to_owned(), bytes: bytes.len() });
    }
    Ok(Contents { name: Digest::from_sha256(Sha256::digest(&bytes).into()), bytes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_spec::{Bytes, FileContents, FilePath, MilliCpu};

    use super::*;

    const LIMITS: Limits = Limits {
        cpu: MilliCpu::from_milli(1_000),
        memory: Bytes::from_mebibytes(64),
        pids: 64,
        tmp: Bytes::from_mebibytes(8),
    };

    fn mount(at: &str, volume: Volume) -> VolumeMount {
        VolumeMount { name: "v".to_owned(), mount_path: at.parse().unwrap(), read_only: false, volume }
    }

    fn of_mounts(volume_mounts: Vec<VolumeMount>) -> Result<(Vec<ImageVolume>, Vec<Contents>), VolumeError> {
        of(&Container { volume_mounts, ..Container::of("busybox".parse().unwrap()) }, &LIMITS)
    }

    fn file(text: &str) -> VolumeFile {
        let (path, contents) = (FilePath::new("a").unwrap(), FileContents::new(text.into()));
        VolumeFile { path, mode: 0o400, contents }
    }

    fn memory(size_limit: Option<Bytes>) -> Volume {
        Volume::EmptyDir { medium: Medium::Memory, size_limit }
    }

    #[test]
    fn outer_ones_come_first_and_sizes_have_defaults() {
        let disk = Volume::EmptyDir { medium: Medium::Disk, size_limit: None };
        let (volumes, _) = of_mounts(vec![mount("/a/b", memory(None)), mount("/a", disk)]).unwrap();
        let sources: Vec<_> = volumes.iter().map(|volume| (volume.at.as_str(), &volume.source)).collect();
        let expected = [
            ("/a", &VolumeSource::Disk { bytes: EMPTY_DIR_DISK_DEFAULT }),
            ("/a/b", &VolumeSource::Memory { bytes: LIMITS.tmp }),
        ];
        assert_eq!(sources, expected);
    }

    #[test]
    fn files_are_read_only_and_kept_under_the_name_of_what_they_hold() {
        let files = |text| Volume::Files { files: vec![file(text)] };
        let (volumes, contents) = of_mounts(vec![mount("/a", files("x")), mount("/b", files("y"))]).unwrap();
        assert!(volumes.iter().all(|volume| volume.read_only));
        assert_eq!(volumes[0].source, VolumeSource::Files { contents: contents[0].name });
        assert_ne!(contents[0].name, contents[1].name);
        assert_eq!(serde_json::from_slice::<Vec<VolumeFile>>(&contents[1].bytes).unwrap(), [file("y")]);
    }

    #[test]
    fn what_cannot_be_mounted_is_named() {
        let at = |at| mount(at, memory(None));
        assert_eq!(of_mounts(vec![at("/a"), at("/b"), at("/a")]), Err(VolumeError::Twice("/a".parse().unwrap())));
        let large = Some(Bytes::from_mebibytes(65));
        assert!(matches!(of_mounts(vec![mount("/a", memory(large))]), Err(VolumeError::Memory { .. })));
        let files = vec![file(&"x".repeat(1 << 20))];
        assert!(matches!(of_mounts(vec![mount("/a", Volume::Files { files })]), Err(VolumeError::Large { .. })));
        let many = (0..=VOLUME_MOUNTS_MAX).map(|number| mount(&format!("/{number}"), memory(None))).collect();
        assert!(matches!(of_mounts(many), Err(VolumeError::Many(_))));
    }
}
