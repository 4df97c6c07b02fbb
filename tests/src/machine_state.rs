//! What of one daemon is on the machine at a moment, to be compared with another moment: each thing
//! is a line of text that does not name what changes by itself, such as a pid or an inode.

mod descriptors;
mod places;
mod sockets;
mod tasks;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use serde_json::Value;

use self::tasks::Task;
use crate::Daemon;

/// Uids that a daemon takes at a time, and where the range of all daemons begins by default.
const UID_BASE: u32 = 1_879_048_192;
const BLOCK_UIDS: u32 = 4_096;

/// Which daemon is looked for, also when none runs.
#[derive(Debug, Clone)]
pub struct Subject {
    instance: String,
    /// Without links, as the kernel tells it.
    home: PathBuf,
    run: PathBuf,
    data: PathBuf,
}

/// Things by what they are. Equal things of one kind are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    kinds: BTreeMap<String, BTreeMap<String, usize>>,
}

/// What a half of the daemon holds of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub rss_kib: u64,
    /// Each page divided by the number of processes that share it.
    pub pss_kib: u64,
}

/// A kind of thing of which there is another number than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: String,
    pub gone: Vec<String>,
    pub new: Vec<String>,
}

impl Subject {
    /// # Panics
    /// Where its home cannot be resolved.
    #[must_use]
    pub fn of(daemon: &Daemon) -> Self {
        let home = daemon.home();
        let resolved = fs::canonicalize(home.path()).unwrap();
        let inside = |path: PathBuf| resolved.join(path.strip_prefix(home.path()).unwrap());
        let (run, data) = (inside(home.run()), inside(home.data()));
        Self { instance: daemon.instance().to_owned(), home: resolved, run, data }
    }

    /// The uids that this daemon holds while it runs.
    fn uid_block(&self) -> Option<Range<u32>> {
        let next = u32::try_from(self.uid_record()["next"].as_u64()?).ok()?;
        let begin = UID_BASE + (next - 1).checked_sub(UID_BASE)? / BLOCK_UIDS * BLOCK_UIDS;
        Some(begin..begin + BLOCK_UIDS)
    }

    fn uid_record(&self) -> Value {
        let record = fs::read(self.data.join("uids.json")).unwrap_or_default();
        serde_json::from_slice(&record).unwrap_or_default()
    }

    /// A path with the daemon's own part of it left out, and which of its blanks it is of.
    fn shown(&self, path: &str) -> String {
        let path = path.replace(self.home.to_str().unwrap_or_default(), "HOME").replace(&self.instance, "ID");
        without_number_of_blank(&path)
    }
}

/// Blanks are numbered for as long as the daemon lives, and one is as good as another.
fn without_number_of_blank(path: &str) -> String {
    let Some((before, after)) = path.split_once("blank-") else { return path.to_owned() };
    format!("{before}blank-N{}", after.trim_start_matches(|character: char| character.is_ascii_digit()))
}

impl MachineState {
    /// What there is of a daemon that runs.
    ///
    /// # Panics
    /// Where /proc cannot be read.
    #[must_use]
    pub fn of(daemon: &Daemon) -> Self {
        let subject = Subject::of(daemon);
        Self::look(&subject, Some(daemon.pid()))
    }

    /// What there is of a daemon that does not run, or should not.
    ///
    /// # Panics
    /// Where /proc cannot be read.
    #[must_use]
    pub fn left_by(subject: &Subject) -> Self {
        Self::look(subject, None)
    }

    fn look(subject: &Subject, spawner: Option<i32>) -> Self {
        let tasks = tasks::of(subject, spawner);
        let sockets = sockets::Table::read();
        let mut state = Self { kinds: BTreeMap::new() };
        state.note("processes", tasks.iter().map(Task::shown));
        state.note("threads", tasks.iter().flat_map(Task::threads));
        for (hierarchy, groups) in places::control_groups(&subject.instance) {
            state.note(&format!("control groups of {hierarchy}"), groups);
        }
        state.note("mounts", places::mounts(subject, &tasks));
        state.note("namespaces", tasks::namespaces(&tasks));
        state.note("unix sockets", sockets.under(&subject.home).map(|path| subject.shown(path)));
        state.note("descriptors", tasks.iter().flat_map(|task| descriptors::of(task, &sockets, subject)));
        state.note("files under run", places::files(&seen_from(spawner, &subject.run), &["logs"]));
        state.note("files under data", places::files(&subject.data, &[]));
        let uids = subject.uid_record();
        let endpoints = uids["endpoints"].as_object().map(|endpoints| endpoints.keys().cloned().collect::<Vec<_>>());
        state.note("uids taken", endpoints.unwrap_or_default());
        state
    }

    fn note(&mut self, kind: &str, things: impl IntoIterator<Item = String>) {
        let counts = self.kinds.entry(kind.to_owned()).or_default();
        things.into_iter().for_each(|thing| *counts.entry(thing).or_default() += 1);
    }

    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.kinds.get(kind).map_or(0, |things| things.values().sum())
    }

    /// The things of one kind, each as often as it is there.
    pub fn things(&self, kind: &str) -> impl Iterator<Item = &str> {
        let things = self.kinds.get(kind).into_iter().flatten();
        things.flat_map(|(thing, count)| std::iter::repeat_n(thing.as_str(), *count))
    }

    /// In what this differs from how it was.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Vec<Difference> {
        let kinds: BTreeSet<&str> = self.kinds().chain(before.kinds()).collect();
        let of = |kind: &str| {
            let (gone, new) = (more(before, self, kind), more(self, before, kind));
            Difference { kind: kind.to_owned(), gone, new }
        };
        kinds
            .into_iter()
            .map(of)
            .filter(|difference| !difference.gone.is_empty() || !difference.new.is_empty())
            .collect()
    }
}

/// What one has of a kind beyond what the other has.
fn more(one: &MachineState, other: &MachineState, kind: &str) -> Vec<String> {
    let Some(things) = one.kinds.get(kind) else { return Vec::new() };
    let in_other = |thing: &String| other.kinds.get(kind).and_then(|things| things.get(thing)).copied().unwrap_or(0);
    let beyond =
        |(thing, count): (&String, &usize)| std::iter::repeat_n(thing.clone(), count.saturating_sub(in_other(thing)));
    things.iter().flat_map(beyond).collect()
}

/// The daemon keeps mounts of its own below its directories; they are seen through its root.
fn seen_from(spawner: Option<i32>, path: &Path) -> PathBuf {
    match spawner {
        Some(pid) => PathBuf::from(format!("/proc/{pid}/root{}", path.display())),
        None => path.to_owned(),
    }
}

impl Memory {
    /// # Panics
    /// Where there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let text =
            fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_else(|error| panic!("{pid}: {error}"));
        let kib = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line of smaps_rollup");
            line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
        };
        Self { rss_kib: kib("Rss:"), pss_kib: kib("Pss:") }
    }
}

/// Groups of the whole machine by controller, those included that were removed and that the kernel
/// has not let go of.
#[must_use]
pub fn kernel_groups() -> BTreeMap<String, u64> {
    let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let row = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

/// What a daemon that does not run has left, but for the directories that outlive it.
///
/// # Panics
/// Where /proc cannot be read.
#[must_use]
pub fn leftovers(subject: &Subject) -> Vec<String> {
    let state = MachineState::left_by(subject);
    let lasting = |kind: &str, thing: &str| match (kind, thing.split(' ').next().unwrap_or_default()) {
        ("files under run", name) => ["daemon.lock", "logs", "private", "sockets", "admin.sock"].contains(&name),
        ("files under data", name) => {
            ["configs", "disks", "endpoints", "images", "layers", "models", "prepared", "uids.json"].contains(&name)
                // What was being unpacked or removed is removed by the next start.
                || ["layers/.incoming-", "layers/.removing-"].iter().any(|unfinished| name.starts_with(unfinished))
                || ["images/blobs", "images/blobs/sha256", "images/index.json", "images/oci-layout"].contains(&name)
        }
        _ => false,
    };
    let all = state.kinds().flat_map(|kind| state.things(kind).map(move |thing| (kind, thing.to_owned())));
    all.filter(|(kind, thing)| !lasting(kind, thing)).map(|(kind, thing)| format!("{kind}: {thing}")).collect()
}
