//! Which host uid the processes of an endpoint run as: one each, recorded, never shared.
//!
//! The first uid of the range is what the *setup* of every container runs as (uid 0 of its user
//! namespace); no payload ever runs as it. Endpoints get the ones after it. Daemons side by side
//! take blocks of the configured range that do not overlap.
//!
//! While a daemon lives, what it has in memory counts. The record is there so that an endpoint mostly
//! keeps its uid from one life to the next: before it is read, every process of an earlier life has
//! been ended, so one that is lost, damaged or old harms nobody, and a disk that does not take it
//! stops nothing.

mod block;
#[cfg(test)]
mod crash;
mod locks;
mod ranges;

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use dormouse_spec::EndpointName;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    block::UidBlock,
    ranges::{ImageRanges, RangeLease, Ranges},
};
use crate::error_chain;

/// Why an endpoint gets no uid.
#[derive(Debug, thiserror::Error)]
pub enum UidError {
    #[error("{operation} `{path}` failed")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("processes run as each of the {0} uids: raise `uid_count` in [sandbox]")]
    Exhausted(u32),
    #[error("the uid range {base}…{last} overlaps `{line}` in {file}: choose another `uid_base` in [sandbox]")]
    Overlap { base: u32, last: u32, line: String, file: &'static str },
    #[error("other daemons of this machine hold all {blocks} blocks of uids: raise `uid_count` in [sandbox]")]
    NoBlock { blocks: u32 },
    #[error("the uid range {base} + {count} is empty or leaves the space of uids")]
    Range { base: u32, count: u32 },
    #[error(
        "the ids of images' files {base}…{last} overlap the uid range: choose another `image_id_base` in [sandbox]"
    )]
    Images { base: u32, last: u32 },
    #[error(
        "the ids of images' files {base}…{last} overlap `{line}` in {file}: choose another `image_id_base` in [sandbox]"
    )]
    ImagesOverlap { base: u32, last: u32, line: String, file: &'static str },
    #[error(
        "there is no room for ids of processes of images from {first} to {end}: choose another `image_id_base` in [sandbox]"
    )]
    NoRanges { first: u32, end: u32 },
    #[error("processes of images run with each of the {0} ranges of ids")]
    RangesExhausted(u32),
}

/// The first id that a line names, and how many.
type IdsOfLine = fn(&str) -> Option<(u32, u32)>;

/// Files that name ids of this machine, and how a line of each does.
const FILES_OF_IDS: [(&str, IdsOfLine); 4] = [
    ("/etc/passwd", passwd_ids),
    ("/etc/group", passwd_ids),
    ("/etc/subuid", subordinate_ids),
    ("/etc/subgid", subordinate_ids),
];

/// All ids that this machine has for others.
fn ids_of_machine() -> Vec<UidRange> {
    let of_file = |(file, ids): (&str, IdsOfLine)| {
        let text = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().filter_map(ids).collect::<Vec<_>>()
    };
    let ids = FILES_OF_IDS.into_iter().flat_map(of_file);
    ids.map(|(base, count)| UidRange { base, count }).collect()
}

/// One in so many uids of a range is for blanks.
const BLANKS_SHARE: u32 = 16;

/// Host uids set aside for containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UidRange {
    base: u32,
    count: u32,
}

impl UidRange {
    /// # Errors
    /// Where the range is not of at least two uids below the reserved last ones, or overlaps a user
    /// or a range of subordinate ids of this machine.
    pub(crate) fn new(base: u32, count: u32) -> Result<Self, UidError> {
        let last = base.checked_add(count).filter(|end| count >= 2 && base > 0 && *end < u32::MAX - 1);
        let Some(end) = last else { return Err(UidError::Range { base, count }) };
        let range = Self { base, count };
        match range.overlapped_on_this_machine() {
            Some((line, file)) => Err(UidError::Overlap { base, last: end - 1, line, file }),
            None => Ok(range),
        }
    }

    /// The first user, group or range of subordinate ids that shares an id with it.
    fn overlapped_on_this_machine(self) -> Option<(String, &'static str)> {
        FILES_OF_IDS.into_iter().find_map(|(file, ids)| {
            // A machine without one of these files has nothing to overlap.
            let text = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().find(|line| ids(line).is_some_and(|ids| self.overlaps(ids)))?;
            Some((line.to_owned(), file))
        })
    }

    /// What container setup runs as: uid 0 of every container's user namespace.
    #[must_use]
    pub(crate) fn setup_uid(self) -> u32 {
        self.base
    }

    fn overlaps(self, (first, count): (u32, u32)) -> bool {
        let (mine, theirs) = (u64::from(self.base), u64::from(first));
        mine < theirs + u64::from(count) && theirs < mine + u64::from(self.count)
    }

    /// For blanks, which belong to no endpoint, and for what becomes of them.
    pub(crate) fn blank_uids(self) -> std::ops::Range<u32> {
        self.base + self.count - self.count / BLANKS_SHARE..self.base + self.count
    }

    fn endpoint_uids(self) -> std::ops::Range<u32> {
        self.base + 1..self.blank_uids().start
    }
}

/// The host's ids of images' files: id 0 of every image is the first. Where replicas have ranges of their own, no
/// process runs as one of them but those that unpack, so daemons side by side share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageIds {
    base: u32,
}

impl ImageIds {
    /// How many users, and groups, an image has.
    pub(crate) const COUNT: u32 = 65_536;

    /// # Errors
    /// Where they leave the space of ids or overlap those of `replicas`, a user or a range of subordinate ids
    /// of this machine.
    pub(crate) fn new(base: u32, replicas: UidRange) -> Result<Self, UidError> {
        let count = Self::COUNT;
        let end = base.checked_add(count).filter(|end| base > 0 && *end < u32::MAX - 1);
        let last = end.ok_or(UidError::Range { base, count })? - 1;
        if replicas.overlaps((base, count)) {
            return Err(UidError::Images { base, last });
        }
        match (UidRange { base, count }).overlapped_on_this_machine() {
            Some((line, file)) => Err(UidError::ImagesOverlap { base, last, line, file }),
            None => Ok(Self { base }),
        }
    }

    /// The host's id of an image's root.
    #[must_use]
    pub(crate) fn base(self) -> u32 {
        self.base
    }
}

/// `name:password:id:…` of passwd and group.
fn passwd_ids(line: &str) -> Option<(u32, u32)> {
    Some((line.split(':').nth(2)?.parse().ok()?, 1))
}

/// `owner:first:count` of subuid and subgid.
fn subordinate_ids(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
}

/// The record of which endpoint has which uid. Only the spawner writes it.
#[derive(Debug)]
pub(crate) struct UidRecord {
    path: PathBuf,
    range: UidRange,
    record: Record,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    endpoints: BTreeMap<EndpointName, u32>,
    /// Where the search for a free uid goes on, so that one is reused as late as possible.
    next: u32,
}

impl UidRecord {
    /// Reads the record, or begins an empty one where that fails. Entries outside `range` (it was
    /// changed in the configuration) are dropped.
    pub(crate) fn open(path: &Path, range: UidRange) -> Self {
        let mut record = read(path).unwrap_or_else(|error| {
            tracing::warn!("endpoints may get other uids than before: {}", error_chain::one_line(&error));
            Record::default()
        });
        record.endpoints.retain(|_, uid| range.endpoint_uids().contains(uid));
        // What a killed daemon left; the next write would replace it.
        let _ = fs::remove_file(unfinished(path));
        Self { path: path.to_owned(), range, record }
    }

    #[must_use]
    pub(crate) fn range(&self) -> UidRange {
        self.range
    }

    /// The endpoint's uid. Where all are recorded, one of an endpoint that
    /// is not `in_use` is taken over: a uid owns nothing but processes, so nothing is lost by it, and a
    /// node that named thousands of endpoints has used up nothing.
    ///
    /// # Errors
    /// Where processes run as each of them.
    pub(crate) fn assign(
        &mut self,
        endpoint: &EndpointName,
        in_use: impl Fn(&EndpointName) -> bool,
    ) -> Result<u32, UidError> {
        if let Some(uid) = self.record.endpoints.get(endpoint) {
            return Ok(*uid);
        }
        let uids = self.range.endpoint_uids();
        let owners: BTreeMap<u32, &EndpointName> =
            self.record.endpoints.iter().map(|(endpoint, uid)| (*uid, endpoint)).collect();
        let start = if uids.contains(&self.record.next) { self.record.next } else { uids.start };
        let mut in_turn = (start..uids.end).chain(uids.start..start);
        let free = in_turn.clone().find(|uid| !owners.contains_key(uid));
        let uid = free
            .or_else(|| in_turn.find(|uid| owners.get(uid).is_some_and(|owner| !in_use(owner))))
            .ok_or(UidError::Exhausted(self.range.count))?;
        self.record.endpoints.retain(|_, taken| *taken != uid);
        self.record.endpoints.insert(endpoint.clone(), uid);
        self.record.next = uid + 1;
        self.keep();
        Ok(uid)
    }

    /// Gives the uids of endpoints back. The caller has seen the last process of each end.
    pub(crate) fn release(&mut self, endpoints: &[EndpointName]) {
        let recorded = self.record.endpoints.len();
        self.record.endpoints.retain(|endpoint, _| !endpoints.contains(endpoint));
        if self.record.endpoints.len() != recorded {
            self.keep();
        }
    }

    /// Endpoints that have a uid and no file `<name>.json` in the directory of desired state: they
    /// were deleted, or never written down. Ask only while no node works there.
    pub(crate) fn undesired(&self, directory: &Path) -> Vec<EndpointName> {
        let opened = open_of_nodes(directory);
        let is_there = |endpoint: &EndpointName| match &opened {
            Ok(opened) => {
                let file = format!("{endpoint}.json");
                match rustix::fs::statat(opened, file, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(found) => FileType::from_raw_mode(found.st_mode).is_file(),
                    Err(error) => error != Errno::NOENT,
                }
            }
            // What cannot be looked at may be there.
            Err(error) => *error != Errno::NOENT,
        };
        self.record.endpoints.keys().filter(|endpoint| !is_there(endpoint)).cloned().collect()
    }

    fn keep(&self) {
        if let Err(error) = self.write() {
            tracing::warn!("endpoints may get other uids after a restart: {}", error_chain::one_line(&error));
        }
    }

    /// Not synced: what a power cut leaves of it is as good as none.
    fn write(&self) -> Result<(), UidError> {
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| UidError::Io { operation, path, source }
        };
        let new = unfinished(&self.path);
        let bytes = serde_json::to_vec_pretty(&self.record).map_err(|error| failed("encoding", &new)(error.into()))?;
        let written = fs::write(&new, bytes)
            .map_err(failed("writing the uid record", &new))
            .and_then(|()| fs::rename(&new, &self.path).map_err(failed("replacing the uid record", &self.path)));
        if written.is_err() {
            // A full disk needs its space back. The failure is told already.
            let _ = fs::remove_file(&new);
        }
        written
    }
}

fn read(path: &Path) -> Result<Record, UidError> {
    let failed = |source| UidError::Io { operation: "reading the uid record", path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
        Err(error) => Err(failed(error)),
    }
}

/// A write that has not taken the record's place.
/// A directory whose parent is ours and whose name is the node's, who could have put a link to anywhere there.
fn open_of_nodes(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let (parent, name) = (directory.parent().ok_or(Errno::INVAL)?, directory.file_name().ok_or(Errno::INVAL)?);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&parent, name, flags, Mode::empty(), within)
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RANGE: UidRange = UidRange { base: 1_879_048_192, count: 4 };

    fn name(text: &str) -> EndpointName {
        text.parse().unwrap()
    }

    #[test]
    fn no_two_endpoints_share_a_uid_and_setup_has_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = UidRecord::open(&directory.path().join("uids.json"), RANGE);
        let uids: Vec<u32> = ["a", "b", "c"].map(|endpoint| record.assign(&name(endpoint), |_| true).unwrap()).into();
        assert_eq!(uids, [RANGE.base + 1, RANGE.base + 2, RANGE.base + 3]);
        assert!(!uids.contains(&RANGE.setup_uid()));
        assert!(matches!(record.assign(&name("d"), |_| true), Err(UidError::Exhausted(_))));
    }

    #[test]
    fn a_uid_outlives_the_daemon_and_is_reused_late() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uids.json");
        let mut record = UidRecord::open(&path, RANGE);
        let first = record.assign(&name("a"), |_| true).unwrap();
        record.assign(&name("b"), |_| true).unwrap();
        record.release(&[name("a")]);
        let mut again = UidRecord::open(&path, RANGE);
        assert_eq!(again.assign(&name("b"), |_| true).unwrap(), first + 1);
        assert_eq!(again.assign(&name("c"), |_| true).unwrap(), first + 2, "the freed uid is the last to be taken");
        assert_eq!(again.assign(&name("d"), |_| true).unwrap(), first);
    }

    #[test]
    fn endpoints_that_nothing_runs_of_use_up_no_uid() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = UidRecord::open(&directory.path().join("uids.json"), RANGE);
        let living = record.assign(&name("living"), |_| false).unwrap();
        let is_living = |endpoint: &EndpointName| endpoint.as_str() == "living";
        for number in 0..100 {
            let uid = record.assign(&name(&format!("named-{number}")), is_living).unwrap();
            assert!(RANGE.endpoint_uids().contains(&uid) && uid != living, "{uid}");
            let uids: Vec<u32> = record.record.endpoints.values().copied().collect();
            assert_eq!(uids.iter().collect::<std::collections::BTreeSet<_>>().len(), uids.len(), "one owner a uid");
        }
        assert_eq!(record.assign(&name("living"), |_| true).unwrap(), living);
    }

    #[test]
    fn who_is_not_written_down_any_more_is_undesired() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uids.json");
        fs::write(directory.path().join("uids.new"), "half of a rec").unwrap();
        let mut record = UidRecord::open(&path, RANGE);
        assert!(!directory.path().join("uids.new").exists());
        for endpoint in ["a", "b", "c"] {
            record.assign(&name(endpoint), |_| true).unwrap();
        }
        fs::write(directory.path().join("b.json"), "{}").unwrap();
        assert_eq!(record.undesired(directory.path()), [name("a"), name("c")]);
        // Links are the node's to make, and lead to nothing that says so.
        std::os::unix::fs::symlink("b.json", directory.path().join("c.json")).unwrap();
        assert_eq!(record.undesired(directory.path()), [name("a"), name("c")]);
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(directory.path(), elsewhere.path().join("link")).unwrap();
        assert!(record.undesired(&elsewhere.path().join("link")).is_empty(), "nobody knows");
        record.release(&[name("a"), name("c")]);
        let again = UidRecord::open(&path, RANGE);
        assert_eq!(again.record.endpoints.keys().collect::<Vec<_>>(), [&name("b")]);
    }

    #[test]
    fn a_damaged_record_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uids.json");
        fs::write(&path, "{\"endpoints\": {\"a\": 18").unwrap();
        let mut record = UidRecord::open(&path, RANGE);
        assert_eq!(record.assign(&name("b"), |_| true).unwrap(), RANGE.base + 1);
        assert_eq!(UidRecord::open(&path, RANGE).record.endpoints.len(), 1, "it is whole again");
    }

    #[test]
    fn ranges_of_the_machine_are_seen() {
        assert_eq!(subordinate_ids("user:100000:65536"), Some((100_000, 65_536)));
        assert_eq!(passwd_ids("daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin"), Some((1, 1)));
        assert!(RANGE.overlaps((RANGE.base + 3, 1)) && !RANGE.overlaps((RANGE.base + 4, 1)));
        assert!(RANGE.overlaps((0, u32::MAX)));
        let images = |base| ImageIds::new(base, RANGE);
        assert!(images(RANGE.base + 4).is_ok() && images(RANGE.base - 65_536).is_ok());
        assert!(matches!(images(RANGE.base + 3), Err(UidError::Images { .. })));
        assert!(matches!(images(RANGE.base - 65_535), Err(UidError::Images { .. })));
        assert!(matches!(images(0), Err(UidError::Range { .. })));
        assert!(matches!(images(u32::MAX - 65_536), Err(UidError::Range { .. })));
        assert!(matches!(ImageIds::new(1, RANGE), Err(UidError::ImagesOverlap { .. })));
        assert!(UidRange::new(0, 10).is_err() && UidRange::new(u32::MAX - 3, 10).is_err());
    }
}
