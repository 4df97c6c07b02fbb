#![allow(clippy::unwrap_used)]
use std::io::{BufReader, Read};

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;

const LIMITS: Limits = Limits { entries: 100, names_bytes: 10_000 };

/// An archive that is being made.
#[derive(Default)]
struct Made(Vec<u8>);

impl Made {
    fn entry(self, kind: EntryType, name: &str, data: &[u8]) -> Self {
        self.changed(kind, name, data, |_| {})
    }

    fn changed(mut self, kind: EntryType, name: &str, data: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o100_644);
        header.set_uid(1);
        header.set_gid(2);
        header.set_mtime(3);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

fn within(bytes: &[u8], limits: Limits) -> Result<Vec<Entry>, ArchiveError> {
    // A small buffer, so that every piece of data is cut somewhere.
    let mut archive = Archive::new(BufReader::with_capacity(100, bytes), limits);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        entries.push(entry);
    }
    let mut left = archive.finish()?;
    assert_eq!(left.read(&mut [0]).unwrap(), 0, "all of it is read");
    Ok(entries)
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    within(bytes, LIMITS)
}

fn refusal(bytes: &[u8]) -> String {
    error_chain::one_line(&read(bytes).unwrap_err())
}

use crate::error_chain;

fn names(bytes: &[u8]) -> Vec<String> {
    read(bytes).unwrap().into_iter().map(|entry| entry.name.to_string()).collect()
}

#[test]
fn entries_are_read_with_their_data() {
    let bytes = Made::default().file("a", &[1; 700]).file("b", b"").file("./c/", &[3; 512]).end();
    let mut archive = Archive::new(BufReader::with_capacity(100, bytes.as_slice()), LIMITS);
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let mut data = Vec::new();
        archive
            .read_data::<ArchiveError>(|piece| {
                data.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        let What::File { size, attributes } = entry.what else { panic!("{entry:?}") };
        assert_eq!((size, attributes.mode), (data.len() as u64, 0o644));
        assert_eq!((attributes.uid.get(), attributes.gid.get(), attributes.modified.seconds), (1, 2, 3));
        found.push((entry.name.to_string(), data));
    }
    let expected = [("a", vec![1; 700]), ("b", vec![]), ("c", vec![3; 512])];
    assert_eq!(found, expected.map(|(name, data)| (name.to_owned(), data)));
    assert_eq!(archive.entries(), 3);
}

#[test]
fn long_names_count_for_the_next_entry_alone() {
    let long = "d/".repeat(100) + "file";
    let gnu = Made::default().entry(EntryType::GNULongName, "././@LongLink", format!("{long}\0").as_bytes());
    assert_eq!(names(&gnu.file("short", b"").file("next", b"").end()).len(), 2);
    let gnu = Made::default().entry(EntryType::GNULongName, "././@LongLink", format!("{long}\0").as_bytes());
    let entries = read(&gnu.file("short", b"").file("next", b"").end()).unwrap();
    assert_eq!(entries[0].name.as_bytes(), long.as_bytes());
    assert_eq!(entries[1].name.as_bytes(), b"next");
    let pax = Made::default().entry(EntryType::XHeader, "pax", b"14 path=named\n").file("short", b"").file("next", b"");
    assert_eq!(names(&pax.end()), ["named", "next"]);
    let global = Made::default().entry(EntryType::XGlobalHeader, "pax", b"16 mtime=700000\n");
    let entries = read(&global.file("one", b"").file("other", b"").end()).unwrap();
    for entry in entries {
        let What::File { attributes, .. } = entry.what else { panic!() };
        assert_eq!(attributes.modified.seconds, 700_000);
    }
}

#[test]
fn a_size_of_an_extended_header_is_the_size() {
    let pax = Made::default().entry(EntryType::XHeader, "pax", b"12 size=600\n");
    let bytes =
        pax.changed(EntryType::Regular, "large", &[1; 600], |header| header.set_size(0)).file("next", b"").end();
    assert_eq!(names(&bytes), ["large", "next"]);
}

#[test]
fn only_files_have_data() {
    for kind in [EntryType::Directory, EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Block] {
        let bytes = Made::default()
            .changed(kind, "other", b"", |header| {
                header.set_size(5_000);
                header.set_link_name_literal("target").unwrap();
            })
            .file("next", b"")
            .end();
        assert_eq!(names(&bytes), ["other", "next"], "{kind:?}");
    }
    let old =
        Made::default().changed(EntryType::Regular, "old/", b"", |header| header.as_old_mut().linkflag = [0]).end();
    assert!(matches!(read(&old).unwrap()[0].what, What::Directory { .. }));
}

#[test]
fn what_follows_the_end_is_read_and_is_no_entry() {
    let one = Made::default().file("one", b"").end();
    let other = Made::default().file("other", b"").end();
    assert_eq!(names(&[one.as_slice(), &other].concat()), ["one"]);
    assert_eq!(names(&[one.as_slice(), b"garbage"].concat()), ["one"]);
    assert_eq!(names(&one[..one.len() - 2 * BLOCK]), ["one"], "some archivers write no end");
    assert_eq!(names(&one[..one.len() - BLOCK]), ["one"]);
    assert_eq!(names(b""), [] as [&str; 0]);
}

#[test]
fn what_is_cut_off_is_no_archive() {
    let whole = Made::default().file("one", &[1; 600]).file("other", &[2; 10]).0;
    let ends_of_data = [BLOCK + 600, 4 * BLOCK + 10];
    for length in 1..whole.len() {
        // Padding of the last entry may be missing, as some tools leave it out.
        let entries = match length {
            _ if (ends_of_data[0]..=3 * BLOCK).contains(&length) => Some(1),
            _ if length >= ends_of_data[1] => Some(2),
            _ => None,
        };
        match (read(&whole[..length]), entries) {
            (Err(ArchiveError::CutOff(_)), None) => {}
            (Ok(found), Some(entries)) => assert_eq!(found.len(), entries, "{length}"),
            other => panic!("{length}: {other:?}"),
        }
    }
    let extension = Made::default().file("one", b"").entry(EntryType::XHeader, "pax", b"14 path=named\n").0;
    assert!(matches!(read(&extension), Err(ArchiveError::CutOff(_))), "what is extended is missing");
}

#[test]
fn a_damaged_header_is_seen() {
    let mut bytes = Made::default().file("one", b"").file("other", b"").end();
    bytes[BLOCK] ^= 1;
    assert!(refusal(&bytes).contains("damaged after `one`"), "{}", refusal(&bytes));
    let mut lone = Made::default().file("one", b"").0;
    lone.resize(2 * BLOCK, 0);
    lone.extend(Made::default().file("other", b"").0);
    assert!(matches!(read(&lone), Err(ArchiveError::Damaged(_))), "one block of zeros is no end");
}

#[test]
fn everything_has_a_limit() {
    let three = || Made::default().file("a", b"").file("b", b"").file("c", b"").end();
    let limits = |entries, names_bytes| within(&three(), Limits { entries, names_bytes });
    assert!(limits(3, 3).is_ok());
    assert!(matches!(limits(2, 3), Err(ArchiveError::Entries(2))));
    assert!(matches!(limits(3, 2), Err(ArchiveError::Names(2))));
    for (kind, length, what) in [
        (EntryType::GNULongName, 4_097, "name"),
        (EntryType::GNULongLink, 4_097, "link's target"),
        (EntryType::XHeader, (1 << 20) + 1, "extended header"),
        (EntryType::XGlobalHeader, 1 << 40, "extended header"),
    ] {
        // Refused by what it says, before any of it is read or has room made for it.
        let bytes = Made::default().changed(kind, "extension", b"", |header| header.set_size(length)).end();
        assert!(refusal(&bytes).contains(&format!("its {what} has {length} bytes")), "{}", refusal(&bytes));
    }
    let long =
        Made::default().entry(EntryType::XHeader, "pax", format!("4111 path={}\n", "a".repeat(4_100)).as_bytes());
    assert!(refusal(&long.file("x", b"").end()).contains("4100 bytes, over the limit of 4095"));
    let extended = |count, text: &[u8]| {
        let made = (0..count).fold(Made::default(), |made, _| made.entry(EntryType::XHeader, "pax", text));
        within(&made.file("x", b"").end(), LIMITS)
    };
    let comment = [b"600000 comment=".as_slice(), &[b'a'; 599_984], b"\n"].concat();
    assert!(extended(8, b"9 path=a\n").is_ok() && extended(1, &comment).is_ok());
    for refused in [extended(9, b"9 path=a\n"), extended(2, &comment)] {
        let is_told = matches!(&refused, Err(ArchiveError::Entry { source: EntryError::Extensions, .. }));
        assert!(is_told, "{refused:?}");
    }
}

#[test]
fn each_refusal_names_its_entry() {
    let refused = |made: Made| refusal(&made.end());
    let id = refused(Made::default().changed(EntryType::Regular, "theirs", b"", |header| header.set_uid(65_536)));
    assert!(id.contains("`theirs`") && id.contains("user 65536"), "{id}");
    let climbs = refused(Made::default().file("a/../../b", b""));
    assert!(climbs.contains("`a/../../b`") && climbs.contains("`..`"), "{climbs}");
    let sparse =
        refused(Made::default().entry(EntryType::XHeader, "pax", b"22 GNU.sparse.major=1\n").file("holes", b""));
    assert!(sparse.contains("`holes`") && sparse.contains("--sparse"), "{sparse}");
    let whiteout = refused(Made::default().entry(EntryType::Char, "dev/x", b""));
    assert!(whiteout.contains("`dev/x`") && whiteout.contains("0:0"), "{whiteout}");
    let symlink = refused(Made::default().entry(EntryType::Symlink, "to-nothing", b""));
    assert!(symlink.contains("`to-nothing`"), "{symlink}");
    let root = refused(Made::default().file("./", b""));
    assert!(root.contains("no directory"), "{root}");
}

proptest! {
    /// Whatever is read is within what a tree can hold, and reading ends.
    #[test]
    fn any_bytes_end(mut bytes in proptest::collection::vec(any::<u8>(), 0..4 * BLOCK), whole in any::<bool>()) {
        if whole {
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            for block in bytes.chunks_mut(BLOCK) {
                let mut header = Header::from_byte_slice(block).clone();
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        for entry in read(&bytes).unwrap_or_default() {
            prop_assert!(entry.name.parts().all(|part| part != b".." && part != b"." && part.len() <= 255));
            prop_assert!(!entry.name.as_bytes().contains(&0));
        }
    }
}
