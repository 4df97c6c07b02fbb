//! Unpacking one layer of an image: in a child of the spawner, and in a child of that, which alone reads
//! what the image says.
//!
//! The first, here, is root and reads no byte of the layer. It makes the place, watches, compares the
//! digests and gives the whole its name. The second is root of nothing but images' ids, sees nothing but
//! the place, and may make no system call but those that unpacking needs: [`confine`].

mod confine;
mod contents;
mod fill;
mod place;
mod tree;
mod word;
mod zstd;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use dormouse_spec::Digest;
use libcontainer::oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

pub(crate) use self::place::RECORD;
use self::{
    place::{Place, PlaceError},
    word::{Unpacked, Word, WordError},
};
use crate::{
    cgroup::{CgroupError, ReplicaGroup},
    creation::REPORT_BYTES_MAX,
    defence::Defence,
    devices::WORKER_DEVICES,
    error_chain,
    messages::{Compression, LeftOut},
    oci::OOM_SCORE_ADJ,
    spawner::how_ended,
    stored::{self, StoredError},
    uids::ImageIds,
};

/// Entries of one layer. A root file system of a whole desktop has about half of it.
pub(crate) const ENTRIES_MAX: u64 = 1_000_000;
/// The names of one layer's entries together, in bytes.
pub(crate) const NAMES_BYTES_MAX: u64 = 256 << 20;

/// What a compressor may add to bytes that it cannot make fewer, with tens of gigabytes to spare.
const PACKING_BYTES_MAX: u64 = 16 << 20;

/// What a layer is known to be, beside its tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) diff_id: Digest,
    /// Of the archive, decompressed.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) left_out: LeftOut,
}

/// What the first child tells before it ends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    Unpacked(Layer),
    Removed,
    Failed { reason: String },
}

/// What the node asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) blob: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) compression: Compression,
    pub(crate) bytes_max: u64,
}

/// Everything the child needs; the spawner derived all but what was asked.
#[derive(Debug)]
pub(crate) struct Unpacking<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) group: &'a ReplicaGroup,
    /// The node's store of images, and the node's user, whose its blobs have to be.
    pub(crate) images: &'a Path,
    pub(crate) node: u32,
    /// The spawner's own directory of layers.
    pub(crate) layers: &'a Path,
    /// Of the unfinished layer in it; nothing has this name.
    pub(crate) unfinished: &'a str,
    pub(crate) ids: ImageIds,
    pub(crate) seccomp: &'a LinuxSeccomp,
    pub(crate) report: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
enum UnpackError {
    #[error("joining the control group failed")]
    Cgroup(#[from] CgroupError),
    #[error("the blob cannot be read")]
    Blob(#[from] StoredError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("hearing the unpacking process failed")]
    Word(#[from] WordError),
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the blob has {bytes} bytes, over the limit of {most} for what this layer may unpack to")]
    Long { bytes: u64, most: u64 },
    /// As it said.
    #[error("{0}")]
    Refused(String),
    #[error("the unpacking process {0}")]
    Ended(String),
    #[error(
        "the blob's bytes are {found}, and not {expected} as its name says: it was damaged or exchanged; pull it again"
    )]
    Blobs { found: Digest, expected: Digest },
    #[error("the layer's contents are {found}, and not {expected} as the image says: the image is damaged")]
    Contents { found: Digest, expected: Digest },
}

impl Unpacking<'_> {
    /// Unpacks and reports. Runs in the forked child, which ends right after; what it leaves unfinished is
    /// removed by who sees it end.
    pub(crate) fn run(self) {
        let mut pipe = match self.report.try_clone() {
            Ok(report) => File::from(report),
            Err(_) => return,
        };
        let silent = tracing::subscriber::NoSubscriber::default();
        let report = match tracing::subscriber::with_default(silent, || self.unpack()) {
            Ok(layer) => Report::Unpacked(layer),
            Err(error) => Report::Failed { reason: error_chain::one_line(&error) },
        };
        if let Ok(bytes) = serde_json::to_vec(&report) {
            // Nobody is left to tell where this fails: the spawner sees the pipe end without a report.
            let _ = pipe.write_all(&bytes);
        }
    }

    /// The limits first, so that they hold for all that follows; the name last, when all is on the disk.
    fn unpack(&self) -> Result<Layer, UnpackError> {
        confine::give_up_streams().map_err(io("opening /dev/null"))?;
        self.group.join_self()?;
        if Defence::DevicePolicy.stands() {
            self.group.set_device_policy(&WORKER_DEVICES)?;
        }
        std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ.to_string())
            .map_err(io("giving way when memory is short"))?;
        let blob = stored::open_blob(self.images, &self.asked.blob, self.node)?;
        self.check_length(&blob)?;
        let place = Place::make(self.layers, self.unfinished, self.ids)?;
        let unpacked = self.have_it_filled(&place, blob)?;
        let layer = self.checked(unpacked)?;
        place.finish(&layer)?;
        Ok(layer)
    }

    /// A blob that cannot be right is not read to its end to be told so.
    fn check_length(&self, blob: &OwnedFd) -> Result<(), UnpackError> {
        let found = rustix::fs::fstat(blob).map_err(|error| io("looking at the blob")(error.into()))?;
        let bytes = u64::try_from(found.st_size).unwrap_or(u64::MAX);
        let most = self.asked.bytes_max.saturating_add(PACKING_BYTES_MAX);
        if bytes > most { Err(UnpackError::Long { bytes, most }) } else { Ok(()) }
    }

    /// Forks the process that reads the layer, and hears it to its end.
    fn have_it_filled(&self, place: &Place, blob: OwnedFd) -> Result<Unpacked, UnpackError> {
        let (ours, theirs) = word::pair()?;
        let filling = confine::Filling {
            tree: &place.tree(),
            ids: self.ids,
            seccomp: self.seccomp,
            blob,
            words: theirs,
            compression: self.asked.compression,
            bytes_max: self.asked.bytes_max,
        };
        let child = filling.fork().map_err(io("forking the unpacking process"))?;
        let heard = self.hear(&ours, place);
        drop(ours);
        // It has no more to say, and may not go on. One that ended has its own status still.
        let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
        let ended = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())
            .map_err(|error| io("waiting for the unpacking process")(error.into()))?;
        match heard? {
            Some(unpacked) => Ok(unpacked),
            None => Err(UnpackError::Ended(ended.map(|(_, status)| how_ended(status)).unwrap_or_default())),
        }
    }

    /// Until its last word; `None` where it ended without one.
    fn hear(&self, words: &OwnedFd, place: &Place) -> Result<Option<Unpacked>, UnpackError> {
        while let Some((word, descriptor)) = word::receive(words.as_fd())? {
            match (word, descriptor) {
                (Word::Opaque, Some(directory)) => {
                    place.make_opaque(&directory)?;
                    word::acknowledge(words.as_fd())?;
                }
                (Word::Opaque, None) => return Err(UnpackError::Refused("it named no directory".to_owned())),
                (Word::Unpacked(unpacked), _) => return Ok(Some(unpacked)),
                (Word::Refused { reason }, _) => return Err(UnpackError::Refused(reason)),
            }
        }
        Ok(None)
    }

    fn checked(&self, unpacked: Unpacked) -> Result<Layer, UnpackError> {
        let Asked { blob, diff_id, .. } = *self.asked;
        let mut left_out = unpacked.left_out;
        fill::limit(&mut left_out);
        if Defence::DigestsChecked.stands() {
            if unpacked.blob != blob {
                return Err(UnpackError::Blobs { found: unpacked.blob, expected: blob });
            }
            if unpacked.diff_id != diff_id {
                return Err(UnpackError::Contents { found: unpacked.diff_id, expected: diff_id });
            }
        }
        Ok(Layer { diff_id, bytes: unpacked.bytes, entries: unpacked.entries, left_out })
    }
}

/// Reads what a child that ended has reported, if it did.
pub(crate) fn read_report(pipe: &File) -> Option<Report> {
    let mut bytes = [0; REPORT_BYTES_MAX];
    let length = io::Read::read(&mut &*pipe, &mut bytes).ok()?;
    serde_json::from_slice(bytes.get(..length)?).ok()
}

fn io(operation: &'static str) -> impl FnOnce(io::Error) -> UnpackError {
    move |source| UnpackError::Io { operation, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_longest_reports_are_one_write() {
        let reason = error_chain::one_line(&UnpackError::Refused("\u{1}\"\\".repeat(10_000)));
        let name = "\"".repeat(1_000);
        let mut left_out = LeftOut { devices: u64::MAX, attributes: u64::MAX, notes: u64::MAX, named: Vec::new() };
        (0..100).for_each(|_| fill::note(&mut left_out, &name));
        let diff_id = Digest::from_sha256([255; 32]);
        let layer = Layer { diff_id, bytes: u64::MAX, entries: u64::MAX, left_out };
        for report in [Report::Failed { reason }, Report::Unpacked(layer)] {
            let bytes = serde_json::to_vec(&report).unwrap();
            assert!(bytes.len() <= REPORT_BYTES_MAX, "{}", bytes.len());
        }
    }
}
