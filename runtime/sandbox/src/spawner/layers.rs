//! The layers of images: which are on the disk, what is done to which, and what waits for that.

mod job;
mod leftovers;
mod store;
mod workshop;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use dormouse_spec::Digest;
use nix::unistd::Pid;
use rustix::process::WaitStatus;

use self::leftovers::Leftovers;
pub(super) use self::{
    job::{Ended, Job},
    store::{Found, LayerStore},
    workshop::Workshop,
};
use crate::{
    error_chain,
    unpack::{Asked, Layer},
};

/// Layers that are unpacked or removed at a time: one decompresses while the other waits for the disk.
const JOBS_MAX: usize = 2;
/// Requests that wait for it: a few images with as many layers as any has.
const WAITING_MAX: usize = 1_024;

/// Something that is to be done to a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Unpack(Asked),
    Remove(Digest),
}

impl Task {
    pub(super) fn diff_id(&self) -> Digest {
        match self {
            Self::Unpack(asked) => asked.diff_id,
            Self::Remove(diff_id) => *diff_id,
        }
    }
}

/// What a task comes to.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is unpacked already.
    Present(Layer),
    /// It is not there to be removed.
    Absent(Digest),
    /// Its name is taken by what cannot be read.
    Unreadable(Digest, String),
    /// A child has to do it.
    Work(Task),
}

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{WAITING_MAX} layers wait to be unpacked or removed: ask again when some of them are")]
pub(super) struct Busy;

#[derive(Debug)]
pub(super) struct Layers {
    pub(super) store: LayerStore,
    pub(super) present: BTreeMap<Digest, Layer>,
    jobs: Vec<Job>,
    waiting: VecDeque<Task>,
    leftovers: Leftovers,
    is_stopping: bool,
}

impl Layers {
    pub(super) fn new(found: Found) -> Self {
        let Found { store, present, leftovers } = found;
        let leftovers = Leftovers::new(leftovers);
        Self { store, present, jobs: Vec::new(), waiting: VecDeque::new(), leftovers, is_stopping: false }
    }

    /// Begins to remove what an earlier daemon left.
    pub(super) fn clear_leftovers(&mut self) {
        self.leftovers.begin_next(&self.store);
    }

    /// Whether it was a child that removed what was left.
    pub(super) fn on_leftover_child_ended(&mut self, child: Pid, status: WaitStatus) -> bool {
        self.leftovers.on_child_ended(child, status, &self.store)
    }

    /// Puts a task behind those that were asked for before.
    pub(super) fn ask(&mut self, task: Task) -> Result<(), Busy> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(Busy);
        }
        self.waiting.push_back(task);
        Ok(())
    }

    /// The first task whose turn it is: what is asked of one layer is done one after the other.
    pub(super) fn next(&mut self) -> Option<Turn> {
        if self.jobs.len() >= JOBS_MAX {
            return None;
        }
        let busy = |task: &Task| self.jobs.iter().any(|job| job.task.diff_id() == task.diff_id());
        let at = self.waiting.iter().position(|task| !busy(task))?;
        let task = self.waiting.remove(at)?;
        Some(match &task {
            Task::Unpack(asked) => match self.present.get(&asked.diff_id) {
                Some(layer) => Turn::Present(layer.clone()),
                None => self.look_again(asked.diff_id).unwrap_or(Turn::Work(task)),
            },
            Task::Remove(diff_id) if self.present.contains_key(diff_id) || self.store.has(diff_id) => Turn::Work(task),
            Task::Remove(diff_id) => Turn::Absent(*diff_id),
        })
    }

    /// Whether a replica may be made of it: it is there, and stays.
    pub(super) fn can_be_used(&self, layer: &Digest) -> bool {
        let is_removed = |job: &Job| job.task == Task::Remove(*layer);
        self.present.contains_key(layer) && !self.jobs.iter().any(is_removed)
    }

    /// What could not be read when the daemon started may be readable now.
    fn look_again(&mut self, diff_id: Digest) -> Option<Turn> {
        if !self.store.has(&diff_id) {
            return None;
        }
        Some(match self.store.read(diff_id) {
            Ok(layer) => {
                self.present.insert(diff_id, layer.clone());
                Turn::Present(layer)
            }
            Err(error) => Turn::Unreadable(diff_id, error_chain::one_line(&error)),
        })
    }

    pub(super) fn begun(&mut self, job: Job) {
        self.jobs.push(job);
    }

    /// The job whose child this is, taken out.
    pub(super) fn take(&mut self, child: Pid) -> Option<Job> {
        let at = self.jobs.iter().position(|job| job.child() == child)?;
        Some(self.jobs.swap_remove(at))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.leftovers.is_idle()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// When the next job will have taken too long.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.jobs.iter().filter_map(Job::due).min()
    }

    pub(super) fn kill_overdue(&mut self, now: Instant) {
        self.jobs.iter_mut().for_each(|job| job.kill_overdue(now));
    }

    /// Nobody is left who asked for any of it. What is being done goes on.
    pub(super) fn forget_who_asked(&mut self) {
        self.waiting.clear();
        self.jobs.iter_mut().for_each(Job::forget_who_asked);
    }

    /// Ends what is being done, and begins nothing more.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.waiting.clear();
        self.leftovers.stop();
        self.jobs.iter_mut().for_each(Job::kill);
    }
}
