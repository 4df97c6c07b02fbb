//! The kernel's tables of sockets.

use std::{collections::BTreeMap, fs, path::Path};

/// What a socket is, by its inode.
#[derive(Debug, Default)]
pub(super) struct Table {
    of_inode: BTreeMap<u64, String>,
    /// Paths of Unix sockets, of listeners and of the connections they took.
    paths: Vec<String>,
}

impl Table {
    pub(super) fn read() -> Self {
        let mut table = Self::default();
        let unix = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        for line in unix.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(6);
            let Some(inode) = fields.next().and_then(|inode| inode.parse().ok()) else { continue };
            let path = fields.next().unwrap_or("unnamed").to_owned();
            table.of_inode.insert(inode, format!("unix socket {path}"));
            table.paths.push(path);
        }
        for file in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (Some(state), Some(Ok(inode))) = (fields.get(3), fields.get(9).map(|inode| inode.parse())) else {
                    continue;
                };
                let state = if *state == "0A" { "listening" } else { "connected" };
                table.of_inode.insert(inode, format!("TCP socket, {state}"));
            }
        }
        table
    }

    pub(super) fn under<'a>(&'a self, home: &'a Path) -> impl Iterator<Item = &'a str> {
        self.paths.iter().map(String::as_str).filter(move |path| Path::new(path).starts_with(home))
    }

    pub(super) fn kind(&self, inode: u64) -> &str {
        self.of_inode.get(&inode).map_or("socket of another kind", String::as_str)
    }
}
