//! What is mounted in a container beside its image. Each is made outside of it, at a place of its own, and is bound to
//! where it is seen by libcontainer.

mod disk;
mod files;
mod host;
mod memory;
pub(super) mod mount_points;

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use dormouse_spec::{Bytes, Digest, MountPath};
use libcontainer::oci_spec::{OciSpecError, runtime::Mount};

use super::{
    super::{CreationError, Scratch, failed},
    ImageContents, layers,
};
use crate::{
    messages::{ImageVolume, VolumeSource},
    oci,
    stored::StoredError,
};

/// Where what volumes are made of is, and what of the host's is lent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VolumeStores<'a> {
    /// The node's files with contents of volumes.
    pub(crate) configs: &'a Path,
    /// On whose file system volumes on disk are.
    pub(crate) disks: &'a Path,
    pub(crate) lent: &'a [LentPath],
}

/// A directory of the host's, or a file, that replicas may be given, by the daemon's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LentPath {
    pub path: MountPath,
    pub read_only: bool,
}

/// Why a volume cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("its contents cannot be read")]
    Stored(#[from] StoredError),
    #[error("its contents are over {} bytes", crate::messages::VOLUME_BYTES_MAX)]
    Large,
    #[error("its contents are damaged")]
    Damaged(#[source] serde_json::Error),
    #[error("it is to have one file, and has {0}")]
    NotOneFile(usize),
    #[error("the disk has {free} bytes free, and {needed} are needed: {size} and {spare} that are left to others")]
    DiskFull { free: u64, needed: u64, size: u64, spare: u64 },
    #[error("mkfs.ext4 is not installed: install the package e2fsprogs")]
    NoMkfs,
    #[error("mkfs.ext4 {0}")]
    Mkfs(String),
    #[error("the node lends nothing there: add it to `host_paths` in [sandbox] of the daemon's configuration")]
    NotLent,
    #[error("it is no {0}")]
    NotOfType(&'static str),
    #[error("the node lends it read-only: mount it with `readOnly: true`")]
    LentReadOnly,
    #[error(
        "it belongs to root or to root's group, so it can only be mounted with `readOnly: true`: give it to an account \
         and a group of its own"
    )]
    OfRoot,
    #[error("its file system cannot show files with other owners, so it can only be mounted with `readOnly: true`")]
    NotShown(#[source] io::Error),
}

fn io_failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> VolumeError {
    move |source| VolumeError::Io { operation, source: source.into() }
}

/// Volumes on disk, made while their devices can be used; in the order of the payload's.
#[derive(Debug)]
pub(super) struct Disks(Vec<OwnedFd>);

/// What is known of a volume before anything is mounted: whether there will be a file or a directory, above all.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    volume: &'a ImageVolume,
    from: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    Memory(Bytes),
    Disk(OwnedFd),
    Files(&'a Digest),
    File(&'a Digest),
    Host(host::Found),
}

impl Opened<'_> {
    pub(super) fn at(&self) -> &MountPath {
        &self.volume.at
    }

    pub(super) fn is_file(&self) -> bool {
        match &self.from {
            Source::File(_) => true,
            Source::Host(found) => found.is_file(),
            Source::Memory(_) | Source::Disk(_) | Source::Files(_) => false,
        }
    }
}

/// As whom a container's process runs, in ids of the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The root of the container.
    pub(super) root: u32,
}

/// A volume where it was made.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    volume: &'a ImageVolume,
    is_file: bool,
    pub(super) place: PathBuf,
    /// In the container.
    pub(super) seen_at: PathBuf,
}

impl Placed<'_> {
    /// Whether it holds nothing but what is made here.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.volume.source, VolumeSource::Memory { .. } | VolumeSource::Disk { .. })
    }
}

impl ImageContents<'_> {
    pub(super) fn make_disks(&self) -> Result<Disks, CreationError> {
        let of_volume = |volume: &ImageVolume| match volume.source {
            VolumeSource::Disk { bytes } => {
                let made = disk::make(self.volumes.disks, bytes.get(), self.range.base());
                Some(made.map_err(|source| CreationError::Volume { at: volume.at.clone(), source }))
            }
            _ => None,
        };
        self.payload.volumes.iter().filter_map(of_volume).collect::<Result<_, _>>().map(Disks)
    }

    pub(super) fn open_volumes(&self, disks: Disks) -> Result<Vec<Opened<'_>>, CreationError> {
        let mut disks = disks.0.into_iter();
        let open = |volume| {
            let from = self.open_volume(volume, &mut disks);
            let from = from.map_err(|source| CreationError::Volume { at: volume.at.clone(), source })?;
            Ok(Opened { volume, from })
        };
        self.payload.volumes.iter().map(open).collect()
    }

    fn open_volume<'a>(
        &self,
        volume: &'a ImageVolume,
        disks: &mut impl Iterator<Item = OwnedFd>,
    ) -> Result<Source<'a>, VolumeError> {
        Ok(match &volume.source {
            VolumeSource::Memory { bytes } => Source::Memory(*bytes),
            VolumeSource::Disk { .. } => {
                let none = || io_failed("making its disk")(io::Error::other("there is none"));
                Source::Disk(disks.next().ok_or_else(none)?)
            }
            VolumeSource::Files { contents } => Source::Files(contents),
            VolumeSource::File { contents } => Source::File(contents),
            VolumeSource::Host { path, r#type } => {
                Source::Host(host::find(self.volumes.lent, path, *r#type, volume.read_only)?)
            }
        })
    }

    /// Makes each of them at a place of its own. `seen_at` is where they are to be seen, links of the image's followed.
    pub(super) fn place_volumes<'a>(
        &self,
        scratch: &Scratch<'_>,
        opened: Vec<Opened<'a>>,
        runner: Runner,
        seen_at: Vec<PathBuf>,
    ) -> Result<Vec<Placed<'a>>, CreationError> {
        let mut placed: Vec<Placed<'_>> = Vec::with_capacity(seen_at.len());
        for (index, (opened, seen_at)) in opened.into_iter().zip(seen_at).enumerate() {
            let place = scratch.path(&format!("v{index}"));
            let (volume, is_file) = (opened.volume, opened.is_file());
            self.make_volume(opened.from, &place, runner)
                .map_err(|source| CreationError::Volume { at: volume.at.clone(), source })?;
            placed.push(Placed { volume, is_file, place, seen_at });
        }
        // What is below another is mounted after it.
        placed.sort_by(|one, other| one.seen_at.cmp(&other.seen_at));
        make_places_within(&placed, runner)?;
        Ok(placed)
    }

    fn make_volume(&self, from: Source<'_>, place: &Path, runner: Runner) -> Result<(), VolumeError> {
        let read = |contents: &Digest| files::Contents::read(self.volumes.configs, contents);
        match from {
            Source::Memory(bytes) => memory::make(place, bytes.get(), runner.root),
            Source::Disk(disk) => attach(&disk, place, false),
            Source::Files(contents) => read(contents)?.make_directory(place, runner),
            Source::File(contents) => read(contents)?.make_file(place, runner),
            Source::Host(found) => attach(&found.shown_to(runner)?, place, found.is_file()),
        }
    }
}

/// Where one is mounted below another, that has a place for it. Only what is empty otherwise is given one: in
/// what the host lends, a name could lead anywhere.
fn make_places_within(placed: &[Placed<'_>], runner: Runner) -> Result<(), CreationError> {
    for (index, inner) in placed.iter().enumerate() {
        let outer = placed.iter().take(index).rev().find(|outer| inner.seen_at.starts_with(&outer.seen_at));
        let Some(outer) = outer else { continue };
        let (one, other) = (inner.volume.at.clone(), outer.volume.at.clone());
        let below = inner.seen_at.strip_prefix(&outer.seen_at).unwrap_or(Path::new(""));
        if below.as_os_str().is_empty() {
            return Err(CreationError::VolumesTogether { one, other, place: inner.seen_at.clone() });
        }
        if !outer.is_empty() {
            return Err(CreationError::VolumeWithin { inner: one, outer: other });
        }
        mount_points::make_all(&outer.place, below, inner.is_file, runner.root)?;
    }
    Ok(())
}

fn attach(tree: &OwnedFd, place: &Path, is_file: bool) -> Result<(), VolumeError> {
    let made = if is_file { File::create_new(place).map(drop) } else { fs::create_dir(place) };
    made.map_err(io_failed("making a place for it"))?;
    layers::attach(tree, place).map_err(io_failed("attaching it"))
}

/// What libcontainer is to bind, at where it is seen in the end.
pub(super) fn mounts(placed: &[Placed<'_>]) -> Result<Vec<Mount>, OciSpecError> {
    let bind = |placed: &Placed<'_>| {
        let mode = if placed.volume.read_only { "ro" } else { "rw" };
        oci::mount(&placed.seen_at.to_string_lossy(), "bind", &placed.place, &["bind", mode, "nosuid", "nodev"])
    };
    placed.iter().map(bind).collect()
}

/// A directory that is there already is as good.
fn create_dir(path: &Path) -> Result<(), CreationError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("making", path)(error)),
        _ => Ok(()),
    }
}

/// For mounts that are made by descriptor.
fn set_mode(root: impl AsFd, mode: u32) -> Result<(), VolumeError> {
    let mode = rustix::fs::Mode::from_raw_mode(mode);
    rustix::fs::chmodat(root.as_fd(), ".", mode, rustix::fs::AtFlags::empty())
        .map_err(io_failed("setting the mode of its root"))
}
