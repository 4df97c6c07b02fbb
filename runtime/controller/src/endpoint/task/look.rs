//! Replicas of an image are looked at: until they take requests, and where that is asked for, whether they still do
//! and live.

use std::{sync::Arc, time::Duration};

use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::Probe;

use super::EndpointTask;
use crate::{
    LossCause,
    link::{Fact, FactSender},
    liveness::until_failed,
    policy::{Event, ReplicaKey},
    probe::Seen,
    readiness::{Look, Looking, keep_looking},
    watch::{Looks, LooksFor, Watching},
};

impl EndpointTask {
    /// Begins to look whether a process of an image takes requests. A worker says so itself.
    pub(super) fn look(&mut self, replica: ReplicaKey) {
        let Some(image) = self.revision.image() else { return };
        self.look_as(replica, image.startup.clone());
    }

    /// The same of one that outlived the node process, and was looked at before: one look of each kind that goes well is enough.
    pub(super) fn look_again(&mut self, replica: ReplicaKey) {
        let Some(image) = self.revision.image() else { return };
        let once = |probe: &Probe| Probe { initial_delay: Duration::ZERO, success_threshold: 1, ..probe.clone() };
        // One that was ready before and is not now is no start that failed: that is seen of it later, as of any.
        let of_start = image.startup.iter().filter(|probe| image.readiness.as_ref() != Some(*probe));
        let mut probes: Vec<Probe> = of_start.map(once).collect();
        if probes.is_empty() {
            probes.push(Probe::tcp());
        }
        self.look_as(replica, probes);
    }

    fn look_as(&mut self, replica: ReplicaKey, probes: Vec<Probe>) {
        let Some(member) = self.members.get_mut(replica) else { return };
        let Some(inside) = member.leased.address().inside() else { return };
        let (id, facts) = (member.leased.id().clone(), self.facts_sender.clone());
        let looking = Looking::begin(Arc::clone(inside), probes, move |look| {
            // An inbox that is full is of a spawner that is about to be given up.
            let _ = facts.tell(Fact::Looked(id.clone(), look));
        });
        member._looking = Some(looking);
    }

    /// Those that served and are awake are watched, no others, and each anew since it came to be so.
    pub(super) fn watch_the_awake(&mut self) {
        for (key, state, _) in self.policy.replicas() {
            let Some(member) = self.members.get_mut(key) else { continue };
            let is_watched = state.runs() && member.revision == self.revision.number;
            let image = self.revision.image().filter(|_| is_watched);
            let Some((image, inside)) = image.zip(member.leased.address().inside()) else {
                (member.liveness, member.readiness) = (None, None);
                continue;
            };
            let id = member.leased.id().clone();
            let looks = |probe: &Probe, of: LooksFor| {
                let (id, facts) = (id.clone(), self.facts_sender.clone());
                Looks::begin(Arc::clone(inside), probe.clone(), member.created).telling_doubts(move |doubts| {
                    let _ = facts.tell(Fact::Doubts(id.clone(), of, doubts));
                })
            };
            // Of one whose verdict reached nobody the count begins anew.
            if let Some(probe) = &image.liveness
                && member.liveness.as_ref().is_none_or(Watching::is_over)
            {
                let looks = looks(probe, LooksFor::Liveness);
                member.liveness = Some(watch_life(id.clone(), looks, self.facts_sender.clone()));
            }
            if let Some(probe) = &image.readiness
                && member.readiness.is_none()
            {
                let looks = looks(probe, LooksFor::Readiness);
                member.readiness = Some(watch_readiness(id, looks, self.facts_sender.clone()));
            }
        }
    }

    /// Whether somebody who looks at it is yet to come to a verdict, and was heard to say so while it is awake.
    pub(super) fn doubted(&mut self, replica: ReplicaKey, of: LooksFor, doubts: bool) -> Option<Event> {
        let member = self.members.get_mut(replica)?;
        let watching = match of {
            LooksFor::Liveness => member.liveness.as_mut()?,
            LooksFor::Readiness => member.readiness.as_mut()?,
        };
        watching.doubts = doubts;
        let doubted = [&member.liveness, &member.readiness].into_iter().flatten().any(|watching| watching.doubts);
        Some(Event::Doubted { replica, doubted })
    }

    /// What was seen of one that has gone to sleep meanwhile is of no more use.
    pub(super) fn unwell(&self, replica: ReplicaKey, seen: Seen) -> Option<Event> {
        self.members.get(replica)?.liveness.as_ref()?;
        self.log(replica, seen.in_full.as_ref().unwrap_or(&seen.told));
        let cause = seen.told;
        self.lose(replica, LossCause::Unwell(cause.clone()));
        Some(Event::Unwell { replica, cause })
    }

    /// The same, of one that may yet take requests again.
    pub(super) fn unready(&self, replica: ReplicaKey, seen: Seen) -> Option<Event> {
        self.members.get(replica)?.readiness.as_ref()?;
        self.log(replica, seen.in_full.as_ref().unwrap_or(&seen.told));
        Some(Event::Unready { replica, cause: seen.told })
    }

    /// What was seen of one that starts.
    pub(super) fn not_ready(&self, replica: ReplicaKey, seen: Seen) -> Event {
        if let Some(in_full) = &seen.in_full {
            self.log(replica, &format!("not ready: {in_full}"));
        }
        Event::Seen { replica, what: seen.told }
    }

    pub(super) fn log(&self, replica: ReplicaKey, text: &str) {
        if let Some(id) = self.members.id(replica) {
            self.node.logs.note(&self.revision.endpoint.name, &id, text);
        }
    }
}

// An inbox that is full is of a spawner that is about to be given up.

fn watch_life(replica: ReplicaId, looks: Looks, facts: FactSender) -> Watching {
    Watching::begin(async move {
        let seen = until_failed(looks).await;
        let _ = facts.tell(Fact::Unwell(replica, seen));
    })
}

fn watch_readiness(replica: ReplicaId, looks: Looks, facts: FactSender) -> Watching {
    Watching::begin(keep_looking(looks, move |look| {
        let _ = facts.tell(match look {
            Look::NotReady(seen) => Fact::Unready(replica.clone(), seen),
            Look::Ready => Fact::ReadyAgain(replica.clone()),
        });
    }))
}
