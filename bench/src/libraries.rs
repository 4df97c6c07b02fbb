//! What a program is linked to, as the dynamic linker of this machine resolves it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Failure, machine::said};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Library {
    /// What programs ask for; none of the linker itself, which they name by its path.
    pub(crate) name: Option<String>,
    pub(crate) path: PathBuf,
}

pub(crate) fn of(program: &Path) -> Result<Vec<Library>, Failure> {
    Ok(said(Command::new("ldd").arg(program))?.lines().filter_map(library).collect())
}

/// Of `name => /path (0x…)`, and the linker itself as `/path (0x…)`.
fn library(line: &str) -> Option<Library> {
    let (name, path) = line.trim().split_once(" => ").map_or((None, line.trim()), |(name, path)| (Some(name), path));
    let path = PathBuf::from(path.split(" (0x").next().unwrap_or_default());
    // The kernel's own page of code is in no file.
    path.is_absolute().then(|| Library { name: name.map(str::to_owned), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_is_one_and_the_kernels_page_is_none() {
        let of = |name: Option<&str>, path: &str| Some(Library { name: name.map(str::to_owned), path: path.into() });
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(library("\tlibc.so.6 => /lib/libc.so.6 (0x00007f12)"), of(Some("libc.so.6"), "/lib/libc.so.6"));
        assert_eq!(library("\t/lib64/ld-linux.so.2 (0x00007f12)"), of(None, "/lib64/ld-linux.so.2"));
    }
}
