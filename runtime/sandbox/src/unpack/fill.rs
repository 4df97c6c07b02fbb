//! From the bytes of a blob to the files of a tree: what the confined process does.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    ENTRIES_MAX, NAMES_BYTES_MAX,
    contents::Contents,
    tree::{Tree, TreeError},
    word::{self, Unpacked, Word},
};
use crate::{
    archive::{Archive, ArchiveError, Entry, Limits, Name, What},
    error_chain,
    messages::{Compression, LeftOut},
};

/// How many things that were left out are named.
const NAMED_MAX: usize = 8;
/// The longest of their names with what they are, in bytes.
const NAMED_BYTES_MAX: usize = 192;

#[derive(Debug, thiserror::Error)]
pub(super) enum FillError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("unpacking `{name}` failed")]
    Tree {
        name: Name,
        #[source]
        source: TreeError,
    },
    #[error("setting the times of directories failed")]
    Times(#[source] TreeError),
    #[error("reading the blob failed")]
    Blob(#[source] io::Error),
}

impl FillError {
    fn at(name: &Name) -> impl FnOnce(TreeError) -> Self {
        let name = name.clone();
        move |source| Self::Tree { name, source }
    }
}

/// Unpacks all of a blob below `root`; directories that are to be opaque are handed to `words`.
pub(super) fn fill(
    root: OwnedFd,
    blob: OwnedFd,
    compression: Compression,
    bytes_max: u64,
    words: BorrowedFd<'_>,
) -> Result<Unpacked, FillError> {
    let contents = Contents::open(blob, compression, bytes_max).map_err(FillError::Blob)?;
    let mut archive = Archive::new(contents, Limits { entries: ENTRIES_MAX, names_bytes: NAMES_BYTES_MAX });
    let hand_over = |directory: BorrowedFd<'_>| word::hand_over(words, directory).map_err(io::Error::other);
    let mut tree = Tree::new(root, ENTRIES_MAX, &hand_over);
    let mut left_out = LeftOut::default();
    while let Some(Entry { name, what }) = archive.next_entry()? {
        unpack(&mut tree, &mut archive, &name, what, &mut left_out)?;
    }
    tree.finish().map_err(FillError::Times)?;
    let entries = archive.entries();
    let found = archive.finish()?.finish().map_err(FillError::Blob)?;
    Ok(Unpacked { blob: found.blob, diff_id: found.contents, bytes: found.bytes, entries, left_out })
}

fn unpack<R: io::BufRead>(
    tree: &mut Tree<'_>,
    archive: &mut Archive<R>,
    name: &Name,
    what: What,
    left_out: &mut LeftOut,
) -> Result<(), FillError> {
    let mut attributes_left_out = 0;
    match what {
        What::File { attributes, .. } => {
            let file = tree.make_file(name).map_err(FillError::at(name))?;
            archive.read_data(|data| tree.write(&file, data).map_err(FillError::at(name)))?;
            attributes_left_out = tree.finish_file(&file, &attributes).map_err(FillError::at(name))?;
        }
        What::Directory { attributes } => {
            attributes_left_out = tree.make_directory(name, &attributes).map_err(FillError::at(name))?;
        }
        What::Symlink { target, attributes } => {
            attributes_left_out = tree.make_symlink(name, &target, &attributes).map_err(FillError::at(name))?;
        }
        What::HardLink { target } => tree.make_hard_link(name, &target).map_err(FillError::at(name))?,
        What::Fifo { attributes } => {
            attributes_left_out = tree.make_fifo(name, &attributes).map_err(FillError::at(name))?;
        }
        What::Whiteout => tree.make_whiteout(name).map_err(FillError::at(name))?,
        What::Opaque => tree.make_opaque(name).map_err(FillError::at(name))?,
        #[cfg(weakened)]
        What::Device { kind, number } if !crate::defence::Defence::DevicesLeftOut.stands() => {
            tree.make_device(name, kind, number).map_err(FillError::at(name))?;
        }
        What::Device { number: (major, minor), .. } => {
            left_out.devices += 1;
            note(left_out, &format!("{name} (device {major}:{minor})"));
        }
        What::Note => {
            left_out.notes += 1;
            note(left_out, &format!("{name} (a storage driver's note)"));
        }
    }
    if attributes_left_out > 0 {
        left_out.attributes += attributes_left_out;
        note(left_out, &format!("{name} (extended attributes)"));
    }
    Ok(())
}

/// Keeps the first few.
pub(super) fn note(left_out: &mut LeftOut, what: &str) {
    if left_out.named.len() < NAMED_MAX {
        let end = what.floor_char_boundary(NAMED_BYTES_MAX);
        left_out.named.push(what.get(..end).unwrap_or_default().to_owned());
    }
}

/// What the process that read the layer says is left out, as if it had kept to [`note`].
pub(super) fn limit(left_out: &mut LeftOut) {
    let said = std::mem::take(&mut left_out.named);
    said.iter().for_each(|what| note(left_out, &error_chain::on_one_line(what)));
}

/// Says how it went, and nothing more.
pub(super) fn tell(words: &OwnedFd, result: Result<Unpacked, String>) -> bool {
    let word = match result {
        Ok(unpacked) => Word::Unpacked(unpacked),
        Err(reason) => Word::Refused { reason },
    };
    word::send(words.as_fd(), &word, None).is_ok()
}
