//! Why an archive cannot be read on.

use std::io;

use super::entry::EntryError;

/// The first thing that is damaged, refused or over a limit.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("reading the archive failed")]
    Read(#[source] io::Error),
    #[error("the archive is cut off{after}", after = after(.0))]
    CutOff(Option<String>),
    #[error("the archive is damaged{after}: there is no header where one has to be", after = after(.0))]
    Damaged(Option<String>),
    #[error("entry `{name}` is refused")]
    Entry {
        name: String,
        #[source]
        source: EntryError,
    },
    #[error("the archive has more than {0} entries")]
    Entries(u64),
    #[error("the names of the archive's entries take more than {0} bytes")]
    Names(u64),
}

fn after(last: &Option<String>) -> String {
    last.as_ref().map(|name| format!(" after `{name}`")).unwrap_or_default()
}
