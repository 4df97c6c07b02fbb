//! Which shared libraries of the host a program needs, as the dynamic linker itself resolves them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// Why a program's libraries are not known.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("this program has no dynamic linker: build it for a glibc target")]
    NoLinker(#[source] Option<io::Error>),
    #[error("listing the libraries of `{program}` with `{linker}` failed")]
    List {
        program: PathBuf,
        linker: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{program}` is no program or library of this machine: {reason}")]
    NotLoadable { program: PathBuf, reason: String },
    #[error("`{program}` needs `{library}`, which is not installed")]
    Missing { program: PathBuf, library: String },
}

/// What must be visible in a root directory for some programs to load.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Libraries {
    /// By the name the linker looks for (`libm.so.6`), the host's file.
    pub(crate) by_name: BTreeMap<String, PathBuf>,
    /// Where programs expect the linker itself, and the host's file.
    pub(crate) linker: Option<(PathBuf, PathBuf)>,
}

impl Libraries {
    /// Adds what `program`, a trusted file of this machine, needs. The one that is executed comes
    /// before the libraries that it opens by itself.
    pub(crate) fn add(&mut self, program: &Path) -> Result<(), LibraryError> {
        let linker = own_linker()?;
        let failed = |source| LibraryError::List { program: program.to_owned(), linker: linker.clone(), source };
        let output = Command::new(&linker).arg("--list").arg(program).env_clear().output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            // One that was killed says nothing.
            let reason = if said.is_empty() { output.status.to_string() } else { said };
            return Err(LibraryError::NotLoadable { program: program.to_owned(), reason });
        }
        self.read_list(program, &String::from_utf8_lossy(&output.stdout))
    }

    /// Lines of the linker's list: `name => /path (0x…)`, `/path (0x…)` or `name => not found`.
    fn read_list(&mut self, program: &Path, list: &str) -> Result<(), LibraryError> {
        for line in list.lines() {
            let (name, found) = line.trim().split_once(" => ").unwrap_or((line.trim(), line.trim()));
            if found.starts_with("not found") {
                return Err(LibraryError::Missing { program: program.to_owned(), library: name.to_owned() });
            }
            let strip = |text: &str| text.split(" (0x").next().unwrap_or_default().to_owned();
            let (name, path) = (strip(name), PathBuf::from(strip(found)));
            if name.starts_with('/') {
                // A program tells where it expects the linker. A library does not, and shows what
                // this list was made with.
                self.linker.get_or_insert((PathBuf::from(name), path));
            } else if path.is_absolute() {
                self.by_name.insert(name, path);
            }
            // What is left is the vDSO, which the kernel brings.
        }
        Ok(())
    }
}

/// The linker that loaded this very process, found among its mappings.
fn own_linker() -> Result<PathBuf, LibraryError> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| LibraryError::NoLinker(Some(error)))?;
    maps.lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .find(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("ld-") && name.contains(".so")))
        .map(PathBuf::from)
        .ok_or(LibraryError::NoLinker(None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_list_is_read() {
        let list = "\tlinux-vdso.so.1 (0x00007ffe2e9f2000)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 => /lib/x/ld-linux-x86-64.so.2 (0x00007f)\n";
        let mut libraries = Libraries::default();
        libraries.read_list(Path::new("p"), list).unwrap();
        assert_eq!(libraries.by_name, BTreeMap::from([("libm.so.6".into(), "/lib/x/libm.so.6".into())]));
        let linker = ("/lib64/ld-linux-x86-64.so.2".into(), "/lib/x/ld-linux-x86-64.so.2".into());
        assert_eq!(libraries.linker, Some(linker));
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = Libraries::default().read_list(Path::new("p"), "\tlibfoo.so.1 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libfoo.so.1"));
    }

    #[test]
    fn this_program_lists_its_own_libc() {
        let mut libraries = Libraries::default();
        libraries.add(&std::env::current_exe().unwrap()).unwrap();
        assert!(libraries.by_name.keys().any(|name| name.starts_with("libc.so")));
        assert!(libraries.linker.is_some());
    }
}
