//! Layers of images, as an unpacker reads them: decompressed already.

use std::io::{BufReader, Read};

use dormouse_sandbox::archive::{Archive, ArchiveError, Limits, What};

const BLOCK: usize = 512;
/// Where the sum of a header's bytes is in it.
const SUM: std::ops::Range<usize> = 148..156;
const LIMITS: Limits = Limits { entries: 64, names_bytes: 4_096 };
/// Smaller than a block, so that all is read in pieces.
const BUFFER_BYTES: usize = 100;

/// What is read stays in its layer and within the limits, and no more data than there are bytes. Mutations
/// hardly ever hit the sum of a header, so the same bytes are read again with every sum made right.
pub fn layer(data: &[u8]) {
    read(data);
    let mut summed = data.to_vec();
    summed.chunks_exact_mut(BLOCK).for_each(make_right);
    read(&summed);
}

fn make_right(block: &mut [u8]) {
    if block.iter().all(|byte| *byte == 0) {
        return;
    }
    block[SUM].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn read(bytes: &[u8]) {
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER_BYTES, bytes), LIMITS);
    let (mut names, mut contents) = (0, 0);
    while let Ok(Some(entry)) = archive.next_entry() {
        assert!(archive.entries() <= LIMITS.entries);
        names += entry.name.as_bytes().len();
        assert!(names as u64 <= LIMITS.names_bytes);
        assert!(!entry.name.as_bytes().contains(&0));
        assert!(entry.name.parts().all(|part| part != b".." && part != b"." && part.len() <= 255));
        assert!(!entry.name.is_root() || matches!(entry.what, What::Directory { .. } | What::Opaque));
        let mut length = 0;
        let read = archive.read_data::<ArchiveError>(|piece| {
            length += piece.len() as u64;
            Ok(())
        });
        match entry.what {
            What::File { size, attributes } => {
                assert!(read.is_err() || length == size);
                assert!(attributes.mode <= 0o7777 && attributes.modified.nanoseconds < 1_000_000_000);
            }
            What::Symlink { target, .. } => assert!(!target.is_empty() && !target.contains(&0)),
            What::HardLink { target } => assert!(target.parts().all(|part| part != b"..")),
            _ => assert!(read.is_err() || length <= bytes.len() as u64),
        }
        contents += length;
        assert!(contents <= bytes.len() as u64);
    }
    if let Ok(mut left) = archive.finish() {
        assert_eq!(left.read(&mut [0]).expect("bytes can be read"), 0, "all of it is read");
    }
}
