//! Replicas of an image are looked at: until they take requests, and where that is asked for, whether they still do.

use std::{sync::Arc, time::Duration};

use dormouse_spec::Probe;

use super::EndpointTask;
use crate::{
    LossCause,
    link::Fact,
    liveness::Watching,
    policy::{Event, ReplicaKey, State},
    probe::Seen,
    readiness::Looking,
};

impl EndpointTask {
    /// Begins to look whether a process of an image takes requests. A worker says so itself.
    pub(super) fn look(&mut self, replica: ReplicaKey) {
        let Some(image) = self.revision.image() else { return };
        self.look_as(replica, image.readiness.clone());
    }

    /// The same of one that outlived the node process, and was looked at before: one look that goes well is enough.
    pub(super) fn look_again(&mut self, replica: ReplicaKey) {
        let Some(image) = self.revision.image() else { return };
        let once = Probe { initial_delay: Duration::ZERO, success_threshold: 1, ..image.readiness.clone() };
        self.look_as(replica, once);
    }

    fn look_as(&mut self, replica: ReplicaKey, probe: Probe) {
        let Some(member) = self.members.get_mut(replica) else { return };
        let Some(inside) = member.leased.address().inside() else { return };
        let (id, facts) = (member.leased.id().clone(), self.facts_sender.clone());
        let looking = Looking::begin(Arc::clone(inside), probe, move |look| {
            // An inbox that is full is of a spawner that is about to be given up.
            let _ = facts.tell(Fact::Looked(id.clone(), look));
        });
        member._looking = Some(looking);
    }

    /// Those that serve and are awake are watched, no others, and each anew since it came to be so.
    pub(super) fn watch_the_awake(&mut self) {
        let probe = self.revision.image().and_then(|image| image.liveness.as_ref());
        for (key, state, _) in self.policy.replicas() {
            let Some(member) = self.members.get_mut(key) else { continue };
            let is_watched = state == State::Ready && member.revision == self.revision.number;
            let Some(probe) = probe.filter(|_| is_watched) else {
                member.watching = None;
                continue;
            };
            // Of one whose verdict reached nobody the count begins anew.
            let is_new = member.watching.as_ref().is_none_or(Watching::is_over);
            let Some(inside) = member.leased.address().inside().filter(|_| is_new) else { continue };
            let (id, facts) = (member.leased.id().clone(), self.facts_sender.clone());
            let watching = Watching::begin(Arc::clone(inside), probe.clone(), member.created, move |cause| {
                let _ = facts.tell(Fact::Unwell(id, cause));
            });
            member.watching = Some(watching);
        }
    }

    /// What was seen of one that has gone to sleep meanwhile is of no more use.
    pub(super) fn unwell(&self, replica: ReplicaKey, seen: Seen) -> Option<Event> {
        self.members.get(replica)?.watching.as_ref()?;
        self.log(replica, seen.in_full.as_ref().unwrap_or(&seen.told));
        let cause = seen.told;
        self.lose(replica, LossCause::Unwell(cause.clone()));
        Some(Event::Unwell { replica, cause })
    }

    /// What was seen of one that starts.
    pub(super) fn not_ready(&self, replica: ReplicaKey, seen: Seen) -> Event {
        if let Some(in_full) = &seen.in_full {
            self.log(replica, &format!("not ready: {in_full}"));
        }
        Event::Seen { replica, what: seen.told }
    }

    fn log(&self, replica: ReplicaKey, text: &str) {
        if let Some(id) = self.members.id(replica) {
            self.node.logs.note(&self.revision.endpoint.name, &id, text);
        }
    }
}
