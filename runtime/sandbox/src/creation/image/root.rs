//! The root directory: an overlay of the image's layers, of furniture and of what the replica writes.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use dormouse_spec::Digest;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::chdir,
};

use super::{
    super::{CreationError, Scratch, failed},
    ImageContents, furniture, layers,
    sys::Sys,
    volumes::{Opened, mount_points},
};

/// Names are short and relative: with the most layers, all of them are one page of a mount's options.
const LAYERS: &str = "l";
const FURNITURE: &str = "f";
const WRITTEN: &str = "w";
const ROOT: &str = "root";
const VIEW: &str = "view";
/// What is not an image's to decide: links between layers are not followed, and nothing is noted in files of ours.
const OPTIONS: &str = "redirect_dir=nofollow,index=off,metacopy=off";
/// Files and directories that a replica may make: one for so many bytes, and so many at least.
const BYTES_AN_INODE: u64 = 4 << 10;
const INODES_MIN: u64 = 1_024;
/// Of a tmpfs, no size is no limit.
const BYTES_MIN: u64 = 4 << 10;

impl ImageContents<'_> {
    /// Mounts it with places for what is mounted in it, and leaves nothing else mounted of what it is made of. What is
    /// told besides is where those places are.
    pub(super) fn mount_root(
        &self,
        scratch: &Scratch<'_>,
        bytes: u64,
        sys: &Sys,
        volumes: &[Opened<'_>],
    ) -> Result<(PathBuf, Vec<PathBuf>), CreationError> {
        let [layers, furniture, root] = [LAYERS, FURNITURE, ROOT].map(|name| scratch.path(name));
        for directory in [&layers, &furniture, &root] {
            fs::create_dir(directory).map_err(failed("making", directory))?;
        }
        let shown = self.shown_layers();
        self.mount_layers(&layers, &shown)?;
        let topmost = layers.join((shown.len().saturating_sub(1)).to_string());
        let topmost = fs::metadata(&topmost).map_err(failed("looking at", &topmost))?;
        furniture::furnish(&furniture, self.range.base(), self.hostname, self.nameserver(), &topmost)?;
        sys.furnish(&furniture, self.range.base())?;
        let mut options = format!("lowerdir={FURNITURE}");
        for index in (0..shown.len()).rev() {
            options.push_str(&format!(":{LAYERS}/{index}"));
        }
        let places = self.make_mount_points(scratch, &options, volumes)?;
        let written = (!self.payload.read_only_root).then(|| scratch.path(WRITTEN));
        if let Some(written) = &written {
            make_written(written, bytes)?;
            furniture::like(&written.join("u"), &topmost)?;
            options.push_str(&format!(",upperdir={WRITTEN}/u,workdir={WRITTEN}/w"));
        }
        mount_overlay(scratch, ROOT, &options)?;
        // The overlay has its own, which no name leads to.
        let parts = (0..shown.len()).map(|index| layers.join(index.to_string())).chain(written);
        for part in parts {
            umount2(&part, MntFlags::MNT_DETACH).map_err(failed("unmounting", &part))?;
        }
        Ok((root, places))
    }

    /// As the image is without what it writes, for as long as it takes to look at it.
    fn make_mount_points(
        &self,
        scratch: &Scratch<'_>,
        layers: &str,
        volumes: &[Opened<'_>],
    ) -> Result<Vec<PathBuf>, CreationError> {
        if volumes.is_empty() {
            return Ok(Vec::new());
        }
        let (view, furniture) = (scratch.path(VIEW), scratch.path(FURNITURE));
        fs::create_dir(&view).map_err(failed("making", &view))?;
        mount_overlay(scratch, VIEW, layers)?;
        let places = volumes
            .iter()
            .map(|volume| mount_points::make(&view, &furniture, volume.at(), volume.is_file(), self.range.base()));
        let places = places.collect::<Result<_, _>>()?;
        umount2(&view, MntFlags::MNT_DETACH).map_err(failed("unmounting", &view))?;
        Ok(places)
    }

    /// Each layer once, where it lies highest: what it adds and hides there is all that it adds and hides below. The
    /// kernel takes no directory twice.
    fn shown_layers(&self) -> Vec<Digest> {
        let mut seen = BTreeSet::new();
        let mut shown: Vec<Digest> = self.payload.layers.iter().rev().copied().filter(|it| seen.insert(*it)).collect();
        shown.reverse();
        shown
    }

    /// Each at its number, the lowest first. By descriptor, as a model.
    fn mount_layers(&self, place: &Path, shown: &[Digest]) -> Result<(), CreationError> {
        let shown_as = layers::shown_as(self.ids, self.range).map_err(failed("making an id map for", place))?;
        for (index, layer) in shown.iter().enumerate() {
            let at = place.join(index.to_string());
            fs::create_dir(&at).map_err(failed("making", &at))?;
            let of_layer = |source| CreationError::Layer { layer: *layer, source };
            let opened = layers::open(self.layers, layer).map_err(|error| of_layer(error.into()))?;
            let tree = layers::clone(opened.as_fd(), shown_as.as_ref().map(AsFd::as_fd)).map_err(of_layer)?;
            layers::attach(&tree, &at).map_err(|error| of_layer(error.into()))?;
        }
        Ok(())
    }
}

fn mount_overlay(scratch: &Scratch<'_>, place: &str, layers: &str) -> Result<(), CreationError> {
    chdir(scratch.place()).map_err(failed("entering", scratch.place()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("dormouse"), place, Some("overlay"), flags, Some(format!("{layers},{OPTIONS}").as_str()))
        .map_err(failed("mounting the image's layers at", &scratch.path(place)))?;
    chdir("/").map_err(failed("entering", Path::new("/")))
}

/// Its pages and inodes are memory of the replica's control group, which this process is in.
fn make_written(place: &Path, bytes: u64) -> Result<(), CreationError> {
    fs::create_dir(place).map_err(failed("making", place))?;
    let inodes = (bytes / BYTES_AN_INODE).max(INODES_MIN);
    let options = format!("mode=0755,size={},nr_inodes={inodes}", bytes.max(BYTES_MIN));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("dormouse"), place, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(failed("mounting a tmpfs on", place))?;
    for name in ["u", "w"] {
        let directory = place.join(name);
        fs::create_dir(&directory).map_err(failed("making", &directory))?;
    }
    Ok(())
}
