//! Files of locks that all daemons of a machine share. They are root's alone: whoever may open one can hold it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::libc;

const WRITABLE_BY_OTHERS: u32 = 0o022;

/// One that somebody else made, who could have put a link to anything there, is refused.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = fs::symlink_metadata(path)?;
    let is_ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
    if is_ours && found.mode() & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    Err(io::Error::other("somebody else made it, or may write there: remove it"))
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn a_directory_of_somebody_elses_and_links_in_ours_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let locks = home.path().join("locks");
        make_directory(&locks).unwrap();
        make_directory(&locks).unwrap();
        assert_eq!(fs::metadata(&locks).unwrap().mode() & 0o777, 0o700);
        drop(open(&locks.join("1")).unwrap());
        assert_eq!(fs::metadata(locks.join("1")).unwrap().mode() & 0o777, 0o600);

        symlink(home.path().join("made"), locks.join("2")).unwrap();
        open(&locks.join("2")).unwrap_err();
        assert!(!home.path().join("made").exists());

        fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).unwrap();
        make_directory(&locks).unwrap_err();
        fs::set_permissions(&locks, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&locks, home.path().join("link")).unwrap();
        make_directory(&home.path().join("link")).unwrap_err();
        chown(&locks, Some(12_345), None).unwrap();
        assert!(make_directory(&locks).unwrap_err().to_string().contains("somebody else"));
    }
}
