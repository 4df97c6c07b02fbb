//! The layers of images: which are on the disk, what is done to which, and what waits for that.

mod job;
mod store;

use std::collections::{BTreeMap, VecDeque};

use dormouse_spec::Digest;
use nix::unistd::Pid;

pub(super) use self::{
    job::{Ended, Job, Workshop},
    store::LayerStore,
};
use crate::unpack::{Asked, Layer};

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
}

impl Layers {
    pub(super) fn new(store: LayerStore, present: BTreeMap<Digest, Layer>) -> Self {
        Self { store, present, jobs: Vec::new(), waiting: VecDeque::new() }
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
                None => Turn::Work(task),
            },
            Task::Remove(diff_id) if self.present.contains_key(diff_id) => Turn::Work(task),
            Task::Remove(diff_id) => Turn::Absent(*diff_id),
        })
    }

    /// Whether a replica may be made of it: it is there, and stays.
    pub(super) fn can_be_used(&self, layer: &Digest) -> bool {
        let is_removed = |job: &Job| job.task == Task::Remove(*layer);
        self.present.contains_key(layer) && !self.jobs.iter().any(is_removed)
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
        self.jobs.is_empty()
    }

    /// Nobody is left who asked for any of it. What is being done goes on.
    pub(super) fn forget_who_asked(&mut self) {
        self.waiting.clear();
        self.jobs.iter_mut().for_each(Job::forget_who_asked);
    }

    /// Ends what is being done, and begins nothing more.
    pub(super) fn stop(&mut self) {
        self.waiting.clear();
        self.jobs.iter_mut().for_each(Job::kill);
    }
}
