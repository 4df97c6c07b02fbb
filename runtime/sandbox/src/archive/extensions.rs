//! What is said about the entry that follows, or about all that follow.

use std::io::BufRead;

use super::{
    Archive, ArchiveError, BLOCK,
    entry::EntryError,
    header::{Extension, Said},
};

/// Extensions of one entry: each archiver writes up to three.
pub(super) const EXTENSIONS_MAX: usize = 8;
/// All of them together, in bytes.
pub(super) const EXTENSIONS_BYTES_MAX: usize = 1 << 20;

/// What was said of one entry so far, as far as it is limited.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    count: usize,
    bytes: usize,
}

impl Extensions {
    fn add(&mut self, text: &[u8]) -> Result<(), EntryError> {
        self.count += 1;
        self.bytes += text.len();
        let is_over = self.count > EXTENSIONS_MAX || self.bytes > EXTENSIONS_BYTES_MAX;
        if is_over { Err(EntryError::Extensions) } else { Ok(()) }
    }
}

/// Why an extension is not taken.
#[derive(Debug)]
pub(super) enum Unread {
    Archive(ArchiveError),
    Refused(EntryError),
}

impl From<ArchiveError> for Unread {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<EntryError> for Unread {
    fn from(error: EntryError) -> Self {
        Self::Refused(error)
    }
}

impl<R: BufRead> Archive<R> {
    pub(super) fn extend(
        &mut self,
        what: Extension,
        bytes: u64,
        said: &mut Said,
        extensions: &mut Extensions,
    ) -> Result<(), Unread> {
        let text = self.extension(what, bytes)?;
        extensions.add(&text)?;
        Ok(self.take(what, &text, said)?)
    }

    /// The text of an extension.
    fn extension(&mut self, what: Extension, bytes: u64) -> Result<Vec<u8>, Unread> {
        let max = what.bytes_max();
        let over = || EntryError::Extension { what: what.name(), bytes, max };
        let length = usize::try_from(bytes).ok().filter(|_| bytes <= max).ok_or_else(over)?;
        let mut text = vec![0; length];
        self.read_exact(&mut text)?;
        self.padding = bytes.wrapping_neg() % BLOCK as u64;
        self.skip_padding()?;
        Ok(text)
    }

    fn take(&mut self, what: Extension, text: &[u8], said: &mut Said) -> Result<(), EntryError> {
        let until_nul = || text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match what {
            Extension::LongName => said.long_name = Some(until_nul()),
            Extension::LongLink => said.long_link = Some(until_nul()),
            Extension::Pax => said.pax.read(text)?,
            Extension::GlobalPax => {
                self.global.read(text)?;
                // Else a header for each of many entries could make it longer and longer.
                self.global.attributes.clear();
                said.pax.read(text)?;
            }
        }
        Ok(())
    }
}
