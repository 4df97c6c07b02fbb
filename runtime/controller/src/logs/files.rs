use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use dormouse_sandbox::messages::ReplicaId;

use crate::defence::Defence;

/// The two files of one replica: the one that is written, and the one before it.
#[derive(Debug)]
pub(super) struct LogFiles {
    current: PathBuf,
    bytes_max: u64,
    open: Option<(File, u64)>,
}

impl LogFiles {
    pub(super) fn new(directory: &Path, replica: &ReplicaId, bytes_max: u64) -> Self {
        let current = directory.join(format!("{replica}.log"));
        Self { current, bytes_max, open: None }
    }

    fn previous(&self) -> PathBuf {
        self.current.with_extension("log.1")
    }

    /// Appends lines, each of which ends where `ends` says: as many at a time as fit one file.
    pub(super) fn append_lines(&mut self, text: &[u8], ends: &[usize]) -> io::Result<()> {
        let mut begin = 0;
        let mut end = 0;
        for next in ends {
            if end > begin && (next - begin) as u64 > self.bytes_max {
                self.append(text.get(begin..end).unwrap_or_default())?;
                begin = end;
            }
            end = *next;
        }
        self.append(text.get(begin..end).unwrap_or_default())
    }

    /// Appends whole lines; where they do not fit the file, it becomes the one before.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes = lines.len() as u64;
        let (mut file, mut written) = match self.open.take() {
            Some(open) => open,
            None => open_to_append(&self.current)?,
        };
        if written > 0 && written.saturating_add(bytes) > self.bytes_max && Defence::LogLimit.stands() {
            fs::rename(&self.current, self.previous())?;
            (file, written) = open_to_append(&self.current)?;
        }
        let result = file.write_all(lines);
        if result.is_ok() {
            written = written.saturating_add(bytes);
        } else {
            // A part of a line would run into the next one that is written.
            let _ = file.set_len(written);
        }
        self.open = Some((file, written));
        result
    }

    /// Both files, oldest first, opened so that a rotation does not matter any more.
    pub(super) fn open_to_read(&self) -> io::Result<Vec<(File, u64)>> {
        let mut opened = Vec::new();
        for path in [&self.previous(), &self.current] {
            match File::open(path) {
                Ok(file) => {
                    let bytes = file.metadata()?.len();
                    opened.push((file, bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        for path in [&self.previous(), &self.current] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn open_to_append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// Makes the directory and finds the logs of replicas that do not live any more, those that were
/// written to last at the end.
pub(super) fn find_dead(directory: &Path, living: &[ReplicaId]) -> io::Result<Vec<ReplicaId>> {
    fs::create_dir_all(directory)?;
    let mut dead: BTreeMap<ReplicaId, SystemTime> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // Only the one before is there where its writer was killed between the two.
        let id = name.to_str().and_then(|name| name.strip_suffix(".log").or(name.strip_suffix(".log.1")));
        let Some(Ok(replica)) = id.map(|id| ReplicaId::try_from(id.to_owned())) else { continue };
        if !living.contains(&replica) {
            let modified = entry.metadata()?.modified()?;
            dead.entry(replica).and_modify(|known| *known = modified.max(*known)).or_insert(modified);
        }
    }
    let mut dead: Vec<_> = dead.into_iter().collect();
    dead.sort_by_key(|(_, modified)| *modified);
    Ok(dead.into_iter().map(|(replica, _)| replica).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_files_hold_the_newest_lines_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let replica = ReplicaId::try_from("a-1-1".to_owned()).unwrap();
        let mut files = LogFiles::new(directory.path(), &replica, 100);
        for number in 0..100 {
            files.append(format!("line {number:03}\n").as_bytes()).unwrap();
        }
        let opened = files.open_to_read().unwrap();
        assert_eq!(opened.len(), 2);
        assert!(opened.iter().all(|(_, bytes)| *bytes <= 100));
        let text = fs::read_to_string(directory.path().join("a-1-1.log")).unwrap();
        assert!(text.ends_with("line 099\n"));
        assert!(find_dead(directory.path(), std::slice::from_ref(&replica)).unwrap().is_empty());
        assert_eq!(find_dead(directory.path(), &[]).unwrap(), std::slice::from_ref(&replica));
        fs::remove_file(directory.path().join("a-1-1.log")).unwrap();
        assert_eq!(find_dead(directory.path(), &[]).unwrap(), [replica], "the one before is a log too");
        files.remove().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
