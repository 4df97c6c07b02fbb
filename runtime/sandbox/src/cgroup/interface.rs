//! The kernel's interface files: one value, one list or one table of keys in each.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use super::CgroupError;

/// Opens a file for writing; never makes one, so that a missing controller is told as such.
pub(super) fn open(path: &Path) -> Result<File, CgroupError> {
    OpenOptions::new().write(true).open(path).map_err(CgroupError::file("opening", path))
}

/// Writes one value in one call, as the kernel takes it.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    open(path)?.write_all(value.as_bytes()).map_err(CgroupError::file("writing", path))
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(CgroupError::file("reading", path))
}

/// The file's only value.
pub(super) fn number(path: &Path) -> Result<u64, CgroupError> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| malformed(path, &text))
}

/// The value of one key, in a file of `key value` lines.
pub(super) fn keyed(path: &Path, key: &str) -> Result<u64, CgroupError> {
    let text = read(path)?;
    value_of(&text, key).ok_or_else(|| malformed(path, &text))
}

/// The processes of one directory; none where it is gone.
pub(super) fn processes(directory: &Path) -> Result<Vec<i32>, CgroupError> {
    let path = directory.join("cgroup.procs");
    let text = match read(&path) {
        Err(error) if error.is_gone() => return Ok(Vec::new()),
        text => text?,
    };
    let pids: Vec<i32> = text.lines().map(str::parse).collect::<Result<_, _>>().map_err(|_| malformed(&path, &text))?;
    // A process outside this pid namespace is told as 0, which `kill` takes for the caller's group.
    Ok(pids.into_iter().filter(|pid| *pid > 0).collect())
}

/// The groups directly below a directory; none where it is gone.
pub(super) fn children(directory: &Path) -> Result<Vec<String>, CgroupError> {
    let failed = CgroupError::file("listing", directory);
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(failed),
    }
}

fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

pub(super) fn malformed(path: &Path, text: &str) -> CgroupError {
    CgroupError::Malformed { path: path.to_owned(), text: text.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn a_key_is_found_by_its_whole_name() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value_of(events, "oom_kill"), Some(2));
        assert_eq!(value_of(events, "oom"), Some(3));
        assert_eq!(value_of(events, "kill"), None);
        assert_eq!(value_of("frozen x\n", "frozen"), None);
    }
}
