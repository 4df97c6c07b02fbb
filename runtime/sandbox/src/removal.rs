//! Removing a tree that somebody else has shaped.
//!
//! However deep it is, few descriptors are open and nothing calls itself: what is deep is moved to the top
//! first. However wide it is, a directory is read about once. No link is followed.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat},
    io::{Errno, Result},
    path::Arg,
};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes what has this name in the directory, whatever it is; what is not there is removed.
///
/// # Errors
/// Where the kernel refuses; some of it is left then.
pub(crate) fn whole<P: Arg + Copy>(directory: BorrowedFd<'_>, name: P) -> Result<()> {
    if !is_directory_left(directory, name)? {
        return Ok(());
    }
    let top = openat(directory, name, DIRECTORY, Mode::empty())?;
    let mut moved = Moved::default();
    remove_directory(directory, name, top.as_fd(), |name| {
        flatten(top.as_fd(), name, &mut moved)?;
        while let Some(name) = moved.next() {
            flatten(top.as_fd(), name.as_str(), &mut moved)?;
        }
        Ok(())
    })
}

/// Removes what has this name at the top, but for the directories in it, which are moved there.
fn flatten<P: Arg + Copy>(top: BorrowedFd<'_>, name: P, moved: &mut Moved) -> Result<()> {
    if !is_directory_left(top, name)? {
        return Ok(());
    }
    let inside = openat(top, name, DIRECTORY, Mode::empty())?;
    remove_directory(top, name, inside.as_fd(), |name| {
        if is_directory_left(inside.as_fd(), name)? { moved.take(inside.as_fd(), name, top) } else { Ok(()) }
    })
}

/// Removes all but a directory.
fn is_directory_left<P: Arg>(directory: BorrowedFd<'_>, name: P) -> Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Removes a directory, of which `inside` is open, after `remove` has removed what is in it.
fn remove_directory<P: Arg + Copy>(
    above: BorrowedFd<'_>,
    name: P,
    inside: BorrowedFd<'_>,
    mut remove: impl FnMut(&CStr) -> Result<()>,
) -> Result<()> {
    loop {
        let mut is_empty = true;
        for entry in Dir::read_from(inside)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                is_empty = false;
                remove(entry.file_name())?;
            }
        }
        match unlinkat(above, name, AtFlags::REMOVEDIR) {
            // Some file systems pass over names while others are removed.
            Err(Errno::NOTEMPTY | Errno::EXIST) if !is_empty => {}
            other => return other,
        }
    }
}

/// Directories that were moved to the top, and wait to be removed there: those of `removed + 1` to `moved`.
#[derive(Debug, Default)]
struct Moved {
    moved: u64,
    removed: u64,
}

impl Moved {
    /// Gives it a name that nothing has there.
    fn take(&mut self, from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>) -> Result<()> {
        loop {
            self.moved += 1;
            match renameat_with(from, name, to, Self::name(self.moved), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
    }

    fn next(&mut self) -> Option<String> {
        if self.removed == self.moved {
            return None;
        }
        self.removed += 1;
        Some(Self::name(self.removed))
    }

    fn name(number: u64) -> String {
        format!(".moved-{number}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, mkdirat};

    use super::*;

    #[test]
    fn a_tree_is_removed_and_nothing_that_it_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let (tree, beside) = (place.path().join("tree"), place.path().join("beside"));
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("file"), "stays").unwrap();
        fs::write(tree.join("a/b/file"), "goes").unwrap();
        fs::create_dir(tree.join(".moved-1")).unwrap();
        symlink(&beside, tree.join("a/b/link")).unwrap();
        symlink(&beside, place.path().join("link")).unwrap();
        (0..1_000).for_each(|number| fs::write(tree.join(format!("a/{number}")), "").unwrap());
        whole(CWD, &tree).unwrap();
        whole(CWD, &place.path().join("link")).unwrap();
        whole(CWD, &place.path().join("nothing")).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(beside.join("file")).unwrap(), "stays");
    }

    /// More names than one reading of a directory tells, at the top and below it, directories among them.
    #[test]
    fn width_costs_nothing() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        for directory in [tree.clone(), tree.join("below")] {
            fs::create_dir(&directory).unwrap();
            (0..20_000).for_each(|number| fs::write(directory.join(format!("a name of a file {number}")), "").unwrap());
            (0..2_000).for_each(|number| fs::create_dir_all(directory.join(format!("{number}/a/b"))).unwrap());
        }
        whole(CWD, &tree).unwrap();
        assert!(!tree.exists());
    }

    /// Deeper than a stack takes calls, than descriptors may be open, and than any path can name.
    #[test]
    fn depth_costs_nothing() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut deepest = rustix::fs::open(&tree, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..20_000 {
            mkdirat(&deepest, "d", Mode::RWXU).unwrap();
            deepest = openat(&deepest, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        whole(CWD, &tree).unwrap();
        assert!(!tree.exists());
    }
}
