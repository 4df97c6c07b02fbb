//! Layers of images: what is asked of them, and what has become of it. Each is worked on by a child.

use dormouse_spec::Digest;
use rustix::process::WaitStatus;

use super::Loop;
use crate::{
    error_chain,
    messages::{Event, ImagePayload},
    spawner::layers::{Ended, Job, Task, Turn, Workshop},
    unpack::Layer,
};

impl Loop<'_> {
    pub(super) fn on_layer_task(&mut self, task: Task) {
        let diff_id = task.diff_id();
        if self.ending.is_stopping() {
            return self.tell_layer_failed(diff_id, "the daemon is ending".to_owned());
        }
        match self.layers.ask(task) {
            Ok(()) => self.begin_layer_tasks(),
            Err(busy) => self.tell_layer_failed(diff_id, busy.to_string()),
        }
    }

    fn begin_layer_tasks(&mut self) {
        while let Some(turn) = self.layers.next() {
            match turn {
                Turn::Present(layer) => self.tell_unpacked(layer),
                Turn::Absent(diff_id) => self.tell(Event::LayerRemoved { diff_id }, None),
                Turn::Work(task) => self.begin_layer_task(task),
            }
        }
    }

    /// Here, and nowhere else, a layer begins to be removed, so one that a replica uses is refused here.
    fn begin_layer_task(&mut self, task: Task) {
        if let Some(reason) = self.why_to_keep(&task) {
            return self.tell_layer_failed(task.diff_id(), reason);
        }
        let spawner = self.spawner;
        let workshop = Workshop {
            groups: spawner.groups,
            images: &spawner.stores.images,
            ids: spawner.image_ids,
            seccomp: &spawner.seccomp.unpack,
            cpu: spawner.settings.policy.cpu,
        };
        let diff_id = task.diff_id();
        match Job::begin(task, &mut self.layers.store, &workshop) {
            Ok(job) => self.layers.begun(job),
            Err(error) => self.tell_layer_failed(diff_id, error_chain::one_line(&error)),
        }
    }

    /// Whatever is left of a replica may still have its layers mounted.
    fn why_to_keep(&self, task: &Task) -> Option<String> {
        let Task::Remove(layer) = task else { return None };
        let uses_it = |payload: &ImagePayload| payload.layers.contains(layer);
        let user = self.replicas.values().find(|replica| replica.spec.payload.image().is_some_and(uses_it))?;
        Some(format!("replica {} uses it", user.spec.replica))
    }

    pub(super) fn on_layer_child_ended(&mut self, job: Job, status: WaitStatus) {
        let (diff_id, is_awaited) = (job.task.diff_id(), job.is_awaited);
        let (ended, left) = job.on_child_ended(status, &self.layers.store, self.spawner.groups);
        if let Some(job) = left {
            self.layers.begun(job);
        }
        match ended {
            Some(Ended::Unpacked(layer)) => {
                self.layers.present.insert(diff_id, layer.clone());
                if is_awaited {
                    self.tell_unpacked(layer);
                }
            }
            Some(Ended::Removed) => {
                self.layers.present.remove(&diff_id);
                if is_awaited {
                    self.tell(Event::LayerRemoved { diff_id }, None);
                }
            }
            Some(Ended::Failed(reason)) => {
                // A removal that failed may have taken the name already.
                if !self.layers.store.has(&diff_id) {
                    self.layers.present.remove(&diff_id);
                }
                if is_awaited {
                    self.tell_layer_failed(diff_id, reason);
                }
            }
            None => {}
        }
        self.begin_layer_tasks();
    }

    fn tell_unpacked(&mut self, layer: Layer) {
        let Layer { diff_id, bytes, entries, left_out } = layer;
        self.tell(Event::LayerUnpacked { diff_id, bytes, entries, left_out }, None);
    }

    fn tell_layer_failed(&mut self, diff_id: Digest, reason: String) {
        self.tell(Event::LayerFailed { diff_id, reason }, None);
    }
}
