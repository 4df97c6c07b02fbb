//! What an earlier daemon left unfinished: removed while this one serves, by one child after the other.

use std::collections::VecDeque;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::WaitStatus;

use super::LayerStore;
use crate::spawner::child::fork_child;

#[derive(Debug)]
pub(crate) struct Leftovers {
    waiting: VecDeque<String>,
    /// The child that removes one, and the name of that.
    child: Option<(Pid, String)>,
}

impl Leftovers {
    pub(crate) fn new(names: VecDeque<String>) -> Self {
        Self { waiting: names, child: None }
    }

    pub(crate) fn begin_next(&mut self, store: &LayerStore) {
        let Some(name) = self.waiting.pop_front() else { return };
        match fork_child(&[], || i32::from(store.remove(&name).is_err())) {
            Ok(child) => self.child = Some((child, name)),
            Err(error) => {
                self.waiting.clear();
                tracing::error!(layer = name, "it and what is left beside it waits for the next start: {error}");
            }
        }
    }

    /// Whether it was the child of this, which has begun with the next then.
    pub(crate) fn on_child_ended(&mut self, child: Pid, status: WaitStatus, store: &LayerStore) -> bool {
        let Some((_, name)) = self.child.take_if(|(ours, _)| *ours == child) else { return false };
        if status.exit_status() != Some(0) {
            tracing::warn!(layer = name, "something of it is left for the next start to remove");
        }
        self.begin_next(store);
        true
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.child.is_none()
    }

    /// Leaves the rest to the next start.
    pub(crate) fn stop(&mut self) {
        self.waiting.clear();
        if let Some((child, _)) = self.child {
            // It can only fail where the child ended already, which is about to be told.
            let _ = kill(child, Signal::SIGKILL);
        }
    }
}
