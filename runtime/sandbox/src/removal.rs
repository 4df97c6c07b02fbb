//! Removing a tree that somebody else has shaped.
//!
//! However deep it is, three descriptors are open and nothing calls itself: what is deep is moved to the top
//! first. No link is followed.

use std::{
    ffi::OsString,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStringExt,
    },
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat},
    io::{Errno, Result},
    path::Arg,
};

/// Names read at a time: removing changes what is read.
const NAMES_AT_A_TIME: usize = 256;
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
    let mut moved = 0_u64;
    each(top.as_fd(), |name| {
        if is_directory_left(top.as_fd(), name)? {
            let inside = openat(&top, name, DIRECTORY, Mode::empty())?;
            each(inside.as_fd(), |name| {
                if is_directory_left(inside.as_fd(), name)? {
                    move_to(inside.as_fd(), name, top.as_fd(), &mut moved)?;
                }
                Ok(())
            })?;
            unlinkat(&top, name, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    })?;
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}

/// Removes all but a directory.
fn is_directory_left<P: Arg>(directory: BorrowedFd<'_>, name: P) -> Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Calls `remove` for everything in a directory until nothing is left.
fn each(directory: BorrowedFd<'_>, mut remove: impl FnMut(&OsString) -> Result<()>) -> Result<()> {
    loop {
        let names = some_names(directory)?;
        if names.is_empty() {
            return Ok(());
        }
        names.iter().try_for_each(&mut remove)?;
    }
}

fn some_names(directory: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsString::from_vec(name.to_vec()));
        }
        if names.len() == NAMES_AT_A_TIME {
            break;
        }
    }
    Ok(names)
}

/// Gives it a name that nothing has there.
fn move_to(from: BorrowedFd<'_>, name: &OsString, to: BorrowedFd<'_>, moved: &mut u64) -> Result<()> {
    loop {
        *moved += 1;
        match renameat_with(from, name, to, format!(".moved-{moved}"), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
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
