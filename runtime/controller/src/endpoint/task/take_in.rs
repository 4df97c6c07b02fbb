//! From messages to the policy's events.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};

use dormouse_sandbox::messages::{Event as Told, ExitCause, Origin, ReplicaId};
use tokio::time::Instant;

use super::{EndpointTask, Expected, Waiter};
use crate::{
    Inside, LossCause,
    endpoint::inbox::Call,
    link::{Fact, MemoryFact},
    policy::{Event, ExpectationId, ReplicaKey, WaiterId},
    readiness::Look,
};

impl EndpointTask {
    pub(super) async fn take_call(&mut self, call: Call) {
        match call {
            // Who went away before this was taken in has told so already.
            Call::Acquire { expectation, answer, .. } if answer.is_closed() => {
                if let Some(expectation) = expectation {
                    self.unexpect(expectation).await;
                }
            }
            Call::Acquire { deadline, came, expectation, answer } => {
                // What was found by who comes again for it is not granted to it once more.
                self.take_unfit().await;
                self.waiters_so_far += 1;
                let waiter = WaiterId(self.waiters_so_far);
                self.waiting.insert(waiter, Waiter { came, answer });
                self.happen(Event::Acquire { waiter, deadline: self.node.clock.time(deadline) }).await;
                // After it: what was begun for the one is then the other's.
                if let Some(expectation) = expectation {
                    self.unexpect(expectation).await;
                }
            }
            Call::Expect { expectation, came, until, ended } => {
                if !ended.load(Ordering::Acquire) {
                    self.expected.insert(expectation, Expected { came, ended });
                    self.happen(Event::Expect { expectation, until: self.node.clock.time(until) }).await;
                }
            }
            Call::Revise { revision, done } => {
                let settings = revision.policy_settings(&self.node.settings);
                self.account.set_floor(revision.endpoint.min_replicas).await;
                self.revision = revision;
                self.last_failure = None;
                self.happen(Event::NewRevision { settings }).await;
                self.publish();
                let _ = done.send(());
            }
            Call::Failure { failure } => {
                self.last_failure = Some(failure);
                self.publisher.changed(true);
            }
            Call::Prepared { revision, preparation } => {
                if revision == self.revision.number
                    && let Some(model) = self.revision.model_mut()
                {
                    model.preparation = preparation;
                    self.happen(Event::Prepared { templates: self.revision.templates().unwrap_or_default() }).await;
                }
            }
            Call::Drain { until } => {
                let until = self.node.clock.time(until.into_std());
                self.account.set_floor(0).await;
                self.happen(Event::Drain { until }).await;
            }
            Call::Unleased { done } => self.unleased.push(done),
        }
    }

    /// Leases that came back, replicas that answer nothing or are not to be reached, and callers who went away.
    pub(super) async fn take_returns(&mut self) {
        let returned: Vec<(ReplicaKey, u32)> =
            self.members.iter().map(|(key, member)| (key, member.leased.take_returned())).collect();
        // First: whoever found that gave its lease back after it.
        self.take_unfit().await;
        let served: Vec<ReplicaKey> =
            self.members.iter().filter(|(_, member)| member.leased.take_served()).map(|(key, _)| key).collect();
        for replica in served {
            self.happen(Event::Served { replica }).await;
        }
        for (replica, leases) in returned {
            for _ in 0..leases {
                self.happen(Event::Release { replica }).await;
            }
        }
        if self.returns.take_someone_left() {
            let gone: Vec<WaiterId> =
                self.waiting.iter().filter(|(_, it)| it.answer.is_closed()).map(|(waiter, _)| *waiter).collect();
            for waiter in gone {
                self.waiting.remove(&waiter);
                self.happen(Event::Cancel { waiter }).await;
            }
            let ended = self.expected.iter().filter(|(_, it)| it.ended.load(Ordering::Acquire));
            for expectation in ended.map(|(expectation, _)| *expectation).collect::<Vec<_>>() {
                self.unexpect(expectation).await;
            }
        }
    }

    /// Replicas that were found to answer nothing or not to be reached.
    async fn take_unfit(&mut self) {
        let silent: Vec<ReplicaKey> =
            self.members.iter().filter(|(_, member)| member.leased.take_silent()).map(|(key, _)| key).collect();
        for replica in silent {
            self.lose(replica, ExitCause::Silent.into());
            self.happen(Event::Silent { replica }).await;
        }
        let deaf: Vec<ReplicaKey> =
            self.members.iter().filter(|(_, member)| member.leased.take_deaf()).map(|(key, _)| key).collect();
        for replica in deaf {
            self.happen(Event::Deaf { replica }).await;
        }
    }

    async fn unexpect(&mut self, expectation: ExpectationId) {
        self.expected.remove(&expectation);
        self.happen(Event::Unexpect { expectation }).await;
    }

    pub(super) async fn take_fact(&mut self, fact: Fact) {
        let event = match fact {
            Fact::Memory(fact) => self.memory_event(&fact),
            Fact::Spawner(told, descriptor) => {
                self.note_times(&told);
                self.take_descriptor(&told, descriptor);
                self.replica_event(told)
            }
            Fact::Looked(replica, look) => self.looked(&replica, look),
            Fact::Unwell(replica, seen) => self.members.key(&replica).and_then(|key| self.unwell(key, seen)),
            Fact::Unready(replica, seen) => self.members.key(&replica).and_then(|key| self.unready(key, seen)),
            Fact::Doubts(replica, of, doubts) => {
                self.members.key(&replica).and_then(|key| self.doubted(key, of, doubts))
            }
            Fact::ReadyAgain(replica) => self.members.key(&replica).map(|replica| Event::ReadyAgain { replica }),
        };
        if let Some(event) = event {
            self.happen(event).await;
        }
    }

    /// What came with it: a log, or a socket.
    fn take_descriptor(&mut self, told: &Told, descriptor: Option<OwnedFd>) {
        match (told, descriptor) {
            (Told::Created { replica, .. }, Some(log)) => {
                if let Some(key) = self.members.key(replica) {
                    let has_log = self.members.get_mut(key).map(|member| std::mem::replace(&mut member.has_log, true));
                    if has_log == Some(false) {
                        self.node.logs.keep(&self.revision.endpoint.name, replica, log);
                    }
                    self.look(key);
                }
            }
            (Told::Socket { replica, kind }, Some(socket)) => {
                if let Some(inside) = self.inside(replica) {
                    inside.put(*kind, socket);
                }
            }
            (Told::NoSocket { replica, kind, reason }, _) => {
                if let Some(inside) = self.inside(replica) {
                    inside.fail(*kind, reason.clone());
                }
            }
            _ => {}
        }
    }

    fn inside(&self, replica: &ReplicaId) -> Option<&Arc<Inside>> {
        self.members.get(self.members.key(replica)?)?.leased.address().inside()
    }

    fn looked(&mut self, replica: &ReplicaId, look: Look) -> Option<Event> {
        let replica = self.members.key(replica)?;
        Some(match look {
            Look::NotReady(seen) => self.not_ready(replica, seen),
            Look::Ready => {
                self.wakes.serves(replica, Instant::now());
                Event::Ready { replica }
            }
        })
    }

    fn note_times(&mut self, told: &Told) {
        let (Told::Created { replica, .. } | Told::Ready { replica, .. } | Told::Thawed { replica, .. }) = told else {
            return;
        };
        let Some(key) = self.members.key(replica) else { return };
        match told {
            Told::Created { started_at_ms, origin, .. } => {
                if let Some(member) = self.members.get_mut(key) {
                    member.started_at_ms = *started_at_ms;
                    member.premade = origin.premade();
                    member.created = Some(Instant::now());
                }
                self.node.metrics.container(*origin);
                self.wakes.created(key, *origin, Instant::now());
            }
            Told::Ready { load, .. } => self.wakes.ready(key, *load, Instant::now()),
            _ => self.wakes.thawed(key, Instant::now()),
        }
    }

    fn memory_event(&self, fact: &MemoryFact) -> Option<Event> {
        let (MemoryFact::Granted(id) | MemoryFact::Short(id, _) | MemoryFact::Evict(id)) = fact;
        let replica = self.members.key(id)?;
        Some(match fact {
            MemoryFact::Granted(_) => Event::MemoryGranted { replica },
            MemoryFact::Short(_, short) => Event::MemoryShort { replica, short: *short },
            MemoryFact::Evict(_) => Event::Evict { replica },
        })
    }

    fn replica_event(&mut self, told: Told) -> Option<Event> {
        let key = |id| self.members.key(id);
        Some(match told {
            Told::Created { replica, origin, .. } => {
                Event::Created { replica: key(&replica)?, claimed: matches!(origin, Origin::Claimed(_)) }
            }
            Told::Ready { replica, .. } => Event::Ready { replica: key(&replica)? },
            Told::LoadFailed { replica, reason } => Event::LoadFailed { replica: key(&replica)?, reason },
            Told::Frozen { replica } => Event::Frozen { replica: key(&replica)? },
            Told::Thawed { replica, cause } => {
                if let Some(cause) = &cause {
                    tracing::warn!(%replica, cause, "the replica runs though it was to be frozen");
                }
                Event::Thawed { replica: key(&replica)?, unasked: cause.is_some() }
            }
            Told::Exited { replica, cause } => {
                let replica = key(&replica)?;
                self.lose(replica, cause.clone().into());
                Event::Exited { replica, cause }
            }
            Told::Removed { replica } => {
                let replica = key(&replica)?;
                self.lose(replica, ExitCause::Stopped.into());
                Event::Removed { replica }
            }
            Told::Refused { replica, reason } => {
                let replica = replica?;
                tracing::warn!(%replica, reason, "the spawner refused a request");
                Event::Refused { replica: key(&replica)?, reason }
            }
            Told::Welcome { .. }
            | Told::Adopt(_)
            | Told::Synced
            | Told::Blanks { .. }
            | Told::SlowTurn { .. }
            | Told::Socket { .. }
            | Told::NoSocket { .. }
            | Told::LayerUnpacked { .. }
            | Told::LayerFailed { .. }
            | Told::LayerRemoved { .. }
            | Told::Drain => return None,
        })
    }

    /// Tells the holders of leases; what was said first stays.
    pub(super) fn lose(&self, replica: ReplicaKey, cause: LossCause) {
        if let Some(member) = self.members.get(replica) {
            Arc::clone(&member.leased).lose(cause);
        }
    }
}
