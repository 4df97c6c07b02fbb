//! The files of a layer. All names are looked up within the tree: a link of the layer leads to a place in
//! it, whatever it says.

mod attributes;
mod times;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    rc::Rc,
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstatvfs, linkat, mkdirat, mknodat, openat2, statat,
        symlinkat,
    },
    io::{Errno, retry_on_intr},
};

use self::times::Times;
use crate::{
    archive::{Attributes, Name},
    defence::Defence,
    removal,
};

/// What is left to others of the disk's space, in bytes.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Between two looks at it, in bytes written and in names made.
const LOOK_EVERY_BYTES: u64 = 16 << 20;
const LOOK_EVERY_NAMES: u64 = 4_096;

/// What is left to others of the inodes of a disk that has a number of them.
const FREE_INODES_MIN: u64 = 4_096;
/// How often one name is looked up while others rename.
const LOOKUPS_MAX: u32 = 1_000;

/// Whatever is made is nobody's until it has its own mode and owner.
const UNFINISHED_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const UNFINISHED_DIRECTORY: Mode = Mode::RWXU;
/// Directories that hold an entry and are none themselves.
const PARENT: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// What a directory is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It is an entry, whose mode and owner follow.
    Entry,
    /// Others are in it.
    OnTheWay,
}

/// Why an entry is not in the tree.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("only {} MiB are free on the disk of the layers: {} MiB have to stay so", .free >> 20, FREE_BYTES_MIN >> 20)]
    NoSpace { free: u64 },
    #[error("only {free} inodes are free on the disk of the layers: {FREE_INODES_MIN} have to stay so")]
    NoInodes { free: u64 },
    #[error("more than {0} files and directories are made of the layer, those that its names imply counted in")]
    Made(u64),
    #[error("`{0}`, which it is in, is no directory")]
    NoDirectory(String),
    #[error("it is another name of `{0}`, which this layer has no file of")]
    NoTarget(Name),
    #[error("the same directory cannot be made time and again")]
    Contended,
}

pub(super) struct Tree<'a> {
    root: Rc<OwnedFd>,
    /// Takes directories that are to be opaque.
    hand_over: &'a dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
    /// Where the last entry was: the next is mostly there as well.
    last: Option<(Name, Rc<OwnedFd>)>,
    times: Times,
    /// Names made, and how many may be.
    made: u64,
    made_max: u64,
    bytes_unlooked: u64,
    names_unlooked: u64,
}

impl<'a> Tree<'a> {
    /// `made_max` is how many names may be made, those of directories that no entry is of too.
    pub(super) fn new(root: OwnedFd, made_max: u64, hand_over: &'a dyn Fn(BorrowedFd<'_>) -> io::Result<()>) -> Self {
        Self {
            root: Rc::new(root),
            hand_over,
            last: None,
            times: Times::default(),
            made: 0,
            made_max,
            bytes_unlooked: LOOK_EVERY_BYTES,
            names_unlooked: 0,
        }
    }

    /// A new file, empty.
    pub(super) fn make_file(&mut self, name: &Name) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.put(name, "making the file", |directory, last| rustix::fs::openat(directory, last, flags, UNFINISHED_FILE))
    }

    pub(super) fn write(&mut self, file: &OwnedFd, mut data: &[u8]) -> Result<(), TreeError> {
        self.bytes_unlooked += data.len() as u64;
        self.look_at_space()?;
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
        self.count_one()?;
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

    /// What is made counts, and now and then the disk is looked at.
    fn count_one(&mut self) -> Result<(), TreeError> {
        if self.made >= self.made_max {
            return Err(TreeError::Made(self.made_max));
        }
        self.made += 1;
        self.names_unlooked += 1;
        self.look_at_space()
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

    /// The directory of this name, made with all above it where it is missing.
    fn directory(&mut self, name: &Name) -> Result<Rc<OwnedFd>, TreeError> {
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
    fn ensure(&mut self, name: &Name, wanted: Wanted) -> Result<(), TreeError> {
        let Some((above, last)) = name.split() else { return Ok(()) };
        let (above, last) = (self.directory(&above)?, OsStr::from_bytes(last));
        let mode = if wanted == Wanted::Entry { UNFINISHED_DIRECTORY } else { PARENT };
        match mkdirat(&above, last, mode) {
            Ok(()) => return self.count_one(),
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
                self.count_one()?;
                mkdirat(&above, last, mode).map_err(failed("making the directory"))?;
                self.hand_over(name)
            }
        }
    }

    /// Has the directory made opaque by who may: an image could forge nothing of the kind.
    fn hand_over(&mut self, name: &Name) -> Result<(), TreeError> {
        let directory = self.open_directory(name)?;
        (self.hand_over)(directory.as_fd())
            .map_err(|source| TreeError::Io { operation: "handing over the directory", source })
    }

    /// To change it, not only to find things in it.
    fn open_directory(&self, name: &Name) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open_within(&self.root, name, flags).map_err(|error| no_directory(error, name))
    }

    fn finish_by_name(&mut self, name: &Name, attributes: &Attributes) -> Result<u64, TreeError> {
        let Some((directory, last)) = name.split() else { return Ok(0) };
        let (directory, last) = (self.directory(&directory)?, OsStr::from_bytes(last));
        attributes::by_name(&directory, last, attributes)?;
        times::by_name(&directory, last, attributes.modified)?;
        Ok(attributes.left_out + attributes.extended.len() as u64)
    }

    fn look_at_space(&mut self) -> Result<(), TreeError> {
        if self.bytes_unlooked < LOOK_EVERY_BYTES && self.names_unlooked < LOOK_EVERY_NAMES {
            return Ok(());
        }
        (self.bytes_unlooked, self.names_unlooked) = (0, 0);
        let space = fstatvfs(&*self.root).map_err(failed("looking at the space that is left"))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < FREE_BYTES_MIN {
            return Err(TreeError::NoSpace { free });
        }
        // Some file systems make inodes as they need them, and tell of none.
        if space.f_files > 0 && space.f_favail < FREE_INODES_MIN {
            return Err(TreeError::NoInodes { free: space.f_favail });
        }
        Ok(())
    }
}

/// Opens what there is in the tree. Of a link that leads up the kernel cannot tell where it led while anybody on
/// the machine renames anything, and says so at once.
fn open_within(root: &OwnedFd, name: &Name, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = || openat2(root, place(name), flags, Mode::empty(), within());
    for _ in 1..LOOKUPS_MAX {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    open()
}

/// How names are looked up: as if the tree were all there is.
fn within() -> ResolveFlags {
    if Defence::ParentsInRoot.stands() {
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
    } else {
        ResolveFlags::empty()
    }
}

fn place(name: &Name) -> OsString {
    if name.is_root() { OsString::from(".") } else { OsString::from_vec(name.as_bytes().to_vec()) }
}

fn no_directory(error: Errno, name: &Name) -> TreeError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => TreeError::NoDirectory(name.to_string()),
        error => failed("opening the directory")(error),
    }
}

fn failed(operation: &'static str) -> impl FnOnce(Errno) -> TreeError {
    move |source| TreeError::Io { operation, source: source.into() }
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
