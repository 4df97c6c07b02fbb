//! The files of a layer. All names are looked up within the tree: a link of the layer leads to a place in
//! it, whatever it says.

mod attributes;
mod directories;
mod error;
mod lookup;
mod space;
mod times;

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, linkat, mknodat, statat, symlinkat},
    io::{Errno, retry_on_intr},
};

pub(super) use self::error::TreeError;
use self::{directories::Wanted, error::failed, lookup::open_within, space::Space, times::Times};
use crate::{
    archive::{Attributes, Name},
    removal,
};

/// Whatever is made is nobody's until it has its own mode and owner.
const UNFINISHED_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

pub(super) struct Tree<'a> {
    root: Rc<OwnedFd>,
    /// Takes directories that are to be opaque.
    hand_over: &'a dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
    /// Where the last entry was: the next is mostly there as well.
    last: Option<(Name, Rc<OwnedFd>)>,
    times: Times,
    space: Space,
}

impl<'a> Tree<'a> {
    /// `made_max` is how many names may be made, those of directories that no entry is of too.
    pub(super) fn new(root: OwnedFd, made_max: u64, hand_over: &'a dyn Fn(BorrowedFd<'_>) -> io::Result<()>) -> Self {
        Self { root: Rc::new(root), hand_over, last: None, times: Times::default(), space: Space::new(made_max) }
    }

    /// A new file, empty.
    pub(super) fn make_file(&mut self, name: &Name) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.put(name, "making the file", |directory, last| rustix::fs::openat(directory, last, flags, UNFINISHED_FILE))
    }

    pub(super) fn write(&mut self, file: &OwnedFd, mut data: &[u8]) -> Result<(), TreeError> {
        self.space.take_bytes(&self.root, data.len() as u64)?;
        while !data.is_empty() {
            let written = retry_on_intr(|| rustix::io::write(file, data)).map_err(failed("writing the file"))?;
            data = data.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Gives it all but its data, and tells how many extended attributes were left out.
    pub(super) fn finish_file(&mut self, file: &OwnedFd, attributes: &Attributes) -> Result<u64, TreeError> {
        let left_out = attributes::of_descriptor(file.as_fd(), attributes)?;
        times::of_descriptor(file.as_fd(), attributes.modified)?;
        Ok(left_out)
    }

    /// A directory that is there already is kept, and becomes as this one.
    pub(super) fn make_directory(&mut self, name: &Name, attributes: &Attributes) -> Result<u64, TreeError> {
        if name.split().is_some() {
            self.ensure(name, Wanted::Entry)?;
        }
        let directory = self.open_directory(name)?;
        let left_out = attributes::of_descriptor(directory.as_fd(), attributes)?;
        let root = Rc::clone(&self.root);
        self.times.set_later(&root, name, attributes.modified)?;
        Ok(left_out)
    }

    pub(super) fn make_symlink(&mut self, name: &Name, to: &[u8], attributes: &Attributes) -> Result<u64, TreeError> {
        let to = OsStr::from_bytes(to);
        self.put(name, "making the symbolic link", |directory, last| symlinkat(to, directory, last))?;
        self.finish_by_name(name, attributes)
    }

    pub(super) fn make_fifo(&mut self, name: &Name, attributes: &Attributes) -> Result<u64, TreeError> {
        self.put(name, "making the fifo", |directory, last| {
            mknodat(directory, last, FileType::Fifo, UNFINISHED_FILE, 0)
        })?;
        self.finish_by_name(name, attributes)
    }

    /// As a naive unpacker would.
    #[cfg(weakened)]
    pub(super) fn make_device(
        &mut self,
        name: &Name,
        kind: crate::devices::DeviceKind,
        (major, minor): (u32, u32),
    ) -> Result<(), TreeError> {
        let kind = match kind {
            crate::devices::DeviceKind::Char => FileType::CharacterDevice,
            crate::devices::DeviceKind::Block => FileType::BlockDevice,
        };
        let device = rustix::fs::makedev(major, minor);
        self.put(name, "making the device", |directory, last| mknodat(directory, last, kind, UNFINISHED_FILE, device))
    }

    /// The target has to be of this layer: in the tree there is nothing else.
    pub(super) fn make_hard_link(&mut self, name: &Name, target: &Name) -> Result<(), TreeError> {
        let no_target = || TreeError::NoTarget(target.clone());
        let (directory, last) = target.split().ok_or_else(no_target)?;
        let or_no_target = |operation| {
            move |error| match error {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => TreeError::NoTarget(target.clone()),
                error => failed(operation)(error),
            }
        };
        let from = open_within(&self.root, &directory, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(or_no_target("opening the directory of the link's target"))?;
        let last = OsStr::from_bytes(last);
        let found =
            statat(&from, last, AtFlags::SYMLINK_NOFOLLOW).map_err(or_no_target("looking at the link's target"))?;
        if !matches!(FileType::from_raw_mode(found.st_mode), FileType::RegularFile | FileType::Symlink) {
            return Err(no_target());
        }
        if self.find(name)?.is_some_and(|there| (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(());
        }
        self.put(name, "making the hard link", |to, new| linkat(&from, last, to, new, AtFlags::empty()))
    }

    /// What this layer itself has by the name stays: a whiteout is about those below. Of a directory that
    /// means that it is opaque.
    pub(super) fn make_whiteout(&mut self, name: &Name) -> Result<(), TreeError> {
        match self.find(name)?.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Some(FileType::Directory) => self.hand_over(name),
            Some(_) => Ok(()),
            None => self.put(name, "making the whiteout", |directory, last| {
                mknodat(directory, last, FileType::CharacterDevice, Mode::empty(), 0)
            }),
        }
    }

    pub(super) fn make_opaque(&mut self, name: &Name) -> Result<(), TreeError> {
        if name.split().is_some() {
            self.ensure(name, Wanted::OnTheWay)?;
        }
        self.hand_over(name)
    }

    /// Sets the times that wait.
    pub(super) fn finish(mut self) -> Result<(), TreeError> {
        self.times.set_all(&self.root)
    }

    /// Makes something by `make`, in the place of what has the name.
    fn put<T>(
        &mut self,
        name: &Name,
        operation: &'static str,
        make: impl Fn(&OwnedFd, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, TreeError> {
        self.space.take_one(&self.root)?;
        // The archive's reader lets nothing but directories be the root.
        let (directory, last) = name.split().ok_or(TreeError::Contended)?;
        let (directory, last) = (self.directory(&directory)?, OsStr::from_bytes(last));
        match make(&directory, last) {
            Err(Errno::EXIST) => {
                self.remove(&directory, last)?;
                make(&directory, last).map_err(failed(operation))
            }
            made => made.map_err(failed(operation)),
        }
    }

    /// Only a directory that is removed can have been on the way to another.
    fn remove(&mut self, directory: &OwnedFd, last: &OsStr) -> Result<(), TreeError> {
        self.last = None;
        removal::whole(directory.as_fd(), last).map_err(failed("removing what an earlier entry made"))
    }

    /// What has the name, no link followed.
    fn find(&mut self, name: &Name) -> Result<Option<Stat>, TreeError> {
        let Some((directory, last)) = name.split() else { return Ok(None) };
        let directory = self.directory(&directory)?;
        match statat(&directory, OsStr::from_bytes(last), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("looking at what an earlier entry made")(error)),
        }
    }

    fn finish_by_name(&mut self, name: &Name, attributes: &Attributes) -> Result<u64, TreeError> {
        let Some((directory, last)) = name.split() else { return Ok(0) };
        let (directory, last) = (self.directory(&directory)?, OsStr::from_bytes(last));
        attributes::by_name(&directory, last, attributes)?;
        times::by_name(&directory, last, attributes.modified)?;
        Ok(attributes.left_out + attributes.extended.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directories_that_no_entry_is_of_count() {
        let place = tempfile::tempdir().unwrap();
        let root = || rustix::fs::open(place.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let hand_over = |_: BorrowedFd<'_>| Ok(());
        let mut tree = Tree::new(root(), 4, &hand_over);
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
        tree.make_file(&name("a/b/c/file")).unwrap();
        assert!(matches!(tree.make_file(&name("a/b/c/other")), Err(TreeError::Made(4))));
        let mut tree = Tree::new(root(), 4, &hand_over);
        tree.make_file(&name("a/b/c/more")).unwrap();
        assert!(matches!(tree.make_file(&name("d/e/f/g/file")), Err(TreeError::Made(4))));
    }
}
