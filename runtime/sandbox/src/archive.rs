//! The archive of a layer: untrusted bytes in, checked entries out.
//!
//! Nothing here touches a file system. The headers are read one block at a time, and everything that an
//! archive can make longer has a limit of its own.

mod entry;
mod error;
mod extensions;
mod header;
mod name;
mod pax;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

pub use self::{
    entry::{Attributes, Entry, EntryError, ExtendedAttribute, ImageId, Timestamp, What},
    error::ArchiveError,
    name::{NAME_BYTES_MAX, Name, NameError},
    pax::PaxError,
};
use self::{
    extensions::{Extensions, Unread},
    header::{Extension, Found, Said},
    name::quoted,
    pax::Pax,
};

/// Headers and data are padded to whole blocks, in bytes.
const BLOCK: usize = 512;

/// What an archive may have at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub entries: u64,
    /// The names of all entries together, in bytes.
    pub names_bytes: u64,
}

/// A reader of archives.
#[derive(Debug)]
pub struct Archive<R> {
    source: R,
    limits: Limits,
    entries: u64,
    names_bytes: u64,
    /// What extended headers said of all entries that follow.
    global: Pax,
    /// Data of the current entry that was not read yet, in bytes.
    data_left: u64,
    padding: u64,
    last: Option<String>,
    has_ended: bool,
}

impl<R: BufRead> Archive<R> {
    pub fn new(source: R, limits: Limits) -> Self {
        Self {
            source,
            limits,
            entries: 0,
            names_bytes: 0,
            global: Pax::default(),
            data_left: 0,
            padding: 0,
            last: None,
            has_ended: false,
        }
    }

    /// How many entries were read.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The next entry, past what is left of the last one's data. `None` at the end of the archive: its mark,
    /// which two blocks of zeros are, or no more bytes where a header would begin.
    ///
    /// # Errors
    /// At the first thing that is damaged, refused or over a limit. Nothing can be read after one.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.read_data(|_| Ok(()))?;
        // Some tools write none after the last entry, nor a mark. What is missing is no one's data, and that all
        // came is told by the digest.
        match self.skip_padding() {
            Err(ArchiveError::CutOff(_)) => self.has_ended = true,
            skipped => skipped?,
        }
        let mut said = Said { pax: self.global.clone(), ..Said::default() };
        let (mut is_extended, mut extensions) = (false, Extensions::default());
        while let Some(block) = self.next_header()? {
            let found = header::read(&block, &said).map_err(|source| self.refused(&block, &said, source))?;
            match found {
                Found::Extension { what, bytes } => {
                    self.extend(what, bytes, &mut said, &mut extensions).map_err(|error| match error {
                        Unread::Archive(error) => error,
                        Unread::Refused(source) => self.refused(&block, &said, source),
                    })?;
                    is_extended = !matches!(what, Extension::GlobalPax);
                }
                Found::Entry { entry, data } => return self.found(entry, data).map(Some),
            }
        }
        if is_extended { Err(ArchiveError::CutOff(self.last.clone())) } else { Ok(None) }
    }

    /// Hands the data of the current entry to `take`, piece by piece.
    ///
    /// # Errors
    /// What `take` says, or where the archive ends before the data does.
    pub fn read_data<E: From<ArchiveError>>(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        while self.data_left > 0 {
            let piece = fill(&mut self.source)?;
            let length = piece.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
            let piece = piece.get(..length).unwrap_or_default();
            if piece.is_empty() {
                return Err(ArchiveError::CutOff(self.last.clone()).into());
            }
            take(piece)?;
            self.source.consume(length);
            self.data_left -= length as u64;
        }
        Ok(())
    }

    /// Reads whatever follows the end of the archive: it is part of what is hashed.
    ///
    /// # Errors
    /// Where reading fails.
    pub fn finish(mut self) -> Result<R, ArchiveError> {
        loop {
            let length = fill(&mut self.source)?.len();
            if length == 0 {
                return Ok(self.source);
            }
            self.source.consume(length);
        }
    }

    fn found(&mut self, entry: Entry, data: u64) -> Result<Entry, ArchiveError> {
        self.entries += 1;
        self.names_bytes = self.names_bytes.saturating_add(entry.name.as_bytes().len() as u64);
        if self.entries > self.limits.entries {
            return Err(ArchiveError::Entries(self.limits.entries));
        }
        if self.names_bytes > self.limits.names_bytes {
            return Err(ArchiveError::Names(self.limits.names_bytes));
        }
        self.data_left = data;
        self.padding = data.wrapping_neg() % BLOCK as u64;
        self.last = Some(entry.name.to_string());
        Ok(entry)
    }

    /// A block that is not all zeros; `None` at the end.
    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        if self.has_ended {
            return Ok(None);
        }
        let is_mark = |block: &[u8; BLOCK]| block.iter().all(|byte| *byte == 0);
        match self.block()?.filter(|block| !is_mark(block)) {
            Some(block) if header::is_whole(&block) => Ok(Some(block)),
            Some(_) => Err(ArchiveError::Damaged(self.last.clone())),
            None => {
                self.has_ended = true;
                let next = self.block()?;
                if next.is_none_or(|block| is_mark(&block)) {
                    Ok(None)
                } else {
                    Err(ArchiveError::Damaged(self.last.clone()))
                }
            }
        }
    }

    /// `None` where no byte is left.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        if fill(&mut self.source)?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.read_exact(&mut block)?;
        Ok(Some(block))
    }

    fn skip_padding(&mut self) -> Result<(), ArchiveError> {
        let mut block = [0; BLOCK];
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0);
        self.read_exact(block.get_mut(..padding).unwrap_or_default())
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::CutOff(self.last.clone()),
            _ => ArchiveError::Read(error),
        })
    }

    fn refused(&self, block: &[u8; BLOCK], said: &Said, source: EntryError) -> ArchiveError {
        ArchiveError::Entry { name: quoted(&header::spelt_name(block, said)), source }
    }
}

fn fill<R: BufRead>(source: &mut R) -> Result<&[u8], ArchiveError> {
    // A signal in the middle is no failure, and would make the borrow of the buffer too long to try again here.
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(ArchiveError::Read(error));
        }
    }
    source.fill_buf().map_err(ArchiveError::Read)
}
