//! The directories that entries are in.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, mkdirat, statat},
    io::Errno,
};

use super::{Tree, TreeError, error::no_directory, failed, lookup::open_within};
use crate::archive::Name;

/// Whatever is made is nobody's until it has its own mode and owner.
const UNFINISHED_DIRECTORY: Mode = Mode::RWXU;
/// Directories that hold an entry and are none themselves.
const PARENT: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// What a directory is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is an entry, whose mode and owner follow.
    Entry,
    /// Others are in it.
    OnTheWay,
}

impl Tree<'_> {
    /// The directory of this name, made with all above it where it is missing.
    pub(super) fn directory(&mut self, name: &Name) -> Result<Rc<OwnedFd>, TreeError> {
        if name.is_root() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((_, directory)) = self.last.as_ref().filter(|(last, _)| last == name) {
            return Ok(Rc::clone(directory));
        }
        let open = |root: &OwnedFd| open_within(root, name, OFlags::PATH | OFlags::DIRECTORY);
        let directory = match open(&self.root) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.ensure(name, Wanted::OnTheWay)?;
                open(&self.root)
            }
            opened => opened,
        };
        let directory = Rc::new(directory.map_err(|error| no_directory(error, name))?);
        self.last = Some((name.clone(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// Makes a directory where there is none. One that takes the place of something else in this layer hides
    /// what is below as that did.
    pub(super) fn ensure(&mut self, name: &Name, wanted: Wanted) -> Result<(), TreeError> {
        let Some((above, last)) = name.split() else { return Ok(()) };
        let (above, last) = (self.directory(&above)?, OsStr::from_bytes(last));
        let mode = if wanted == Wanted::Entry { UNFINISHED_DIRECTORY } else { PARENT };
        match mkdirat(&above, last, mode) {
            Ok(()) => return self.space.take_one(&self.root),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("making the directory")(error)),
        }
        let found = statat(&above, last, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("looking at the directory"))?;
        let is_on_the_way = wanted == Wanted::OnTheWay;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Ok(()),
            // Whatever it leads to is where its entries belong.
            FileType::Symlink if is_on_the_way => Ok(()),
            FileType::RegularFile | FileType::Fifo if is_on_the_way => Err(TreeError::NoDirectory(name.to_string())),
            _ => {
                self.remove(&above, last)?;
                self.space.take_one(&self.root)?;
                mkdirat(&above, last, mode).map_err(failed("making the directory"))?;
                self.hand_over(name)
            }
        }
    }

    /// Has the directory made opaque by who may: an image could forge nothing of the kind.
    pub(super) fn hand_over(&mut self, name: &Name) -> Result<(), TreeError> {
        let directory = self.open_directory(name)?;
        (self.hand_over)(directory.as_fd())
            .map_err(|source| TreeError::Io { operation: "handing over the directory", source })
    }

    /// To change it, not only to find things in it.
    pub(super) fn open_directory(&self, name: &Name) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open_within(&self.root, name, flags).map_err(|error| no_directory(error, name))
    }
}
