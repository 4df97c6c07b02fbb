mod demand;
mod forks;
mod idle;
mod life;
mod readiness;
mod templates;

use std::{collections::BTreeMap, time::Duration};

use super::{
    Action, Event, ReplicaKey, State, TemplateSettings, Time, Usage,
    back_off::{BackOff, BackOffSettings},
    expectations::Expectations,
    replica::Replica,
    template::Templates,
    waiters::Waiters,
};

/// How long a replica without requests has between SIGTERM and SIGKILL. It has nothing to finish.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);
/// After a freeze that did not end, the replica runs this long before the next is tried.
pub(super) const FREEZE_RETRY: Duration = Duration::from_secs(10);
/// A stop that the spawner could not carry out is asked for again after this.
pub(super) const STOP_RETRY: Duration = Duration::from_secs(5);
/// The least that `Retry-After` says.
pub(super) const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// The settings of an endpoint that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicySettings {
    pub(crate) min_replicas: u32,
    pub(crate) max_replicas: u32,
    pub(crate) concurrency: u32,
    pub(crate) queue_waiters_max: u32,
    pub(crate) freeze_after: Duration,
    pub(crate) zero_after: Duration,
    /// None where replicas load the model for themselves.
    pub(crate) templates: Option<TemplateSettings>,
    pub(crate) start_deadline: Duration,
    pub(crate) drain_deadline: Duration,
    pub(crate) back_off: BackOffSettings,
}

/// Decides when replicas of one endpoint run, how many, and who gets them.
///
/// Every waiter is answered exactly once: by a grant, or by a refusal with its reason. While one
/// waits, a replica is on its way or will return its leases, or its own deadline wakes it.
///
/// A replica that dies while it serves costs no back-off the first time: one bad request must not
/// turn the next away. The back-off begins with the second death without a lease returned in
/// between. A start that fails always begins one.
///
/// Where templates are wanted, replicas are forked from one: see [`templates`] for its life and [`forks`] for
/// theirs.
#[derive(Debug)]
pub(crate) struct EndpointPolicy {
    settings: PolicySettings,
    replicas: BTreeMap<ReplicaKey, Replica>,
    templates: Templates,
    waiters: Waiters,
    expectations: Expectations,
    back_off: BackOff,
    deaths_in_service: u32,
    /// A container of the pool was lost on the way, and none came to be ready since.
    lost_claim: bool,
    last_start: Duration,
    next_key: u64,
    draining: bool,
}

impl EndpointPolicy {
    pub(crate) fn new(settings: PolicySettings) -> Self {
        Self {
            back_off: BackOff::new(settings.back_off),
            templates: Templates::new(settings.back_off),
            settings,
            replicas: BTreeMap::new(),
            waiters: Waiters::default(),
            expectations: Expectations::default(),
            deaths_in_service: 0,
            lost_claim: false,
            last_start: RETRY_AFTER_MIN,
            next_key: 0,
            draining: false,
        }
    }

    /// A key for a replica or a template that is yet to be adopted.
    pub(crate) fn new_key(&mut self) -> ReplicaKey {
        self.next_key += 1;
        ReplicaKey(self.next_key)
    }

    /// Takes in what happened at `now` and says what is to be done.
    pub(crate) fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.note_awaited(now);
        self.take_in(now, event, &mut actions);
        self.expire(now, &mut actions);
        self.end_drained(now, &mut actions);
        self.give_up_late_templates(now, &mut actions);
        self.serve(&mut actions);
        self.scale(now, &mut actions);
        self.refuse_the_rest(now, &mut actions);
        self.let_rest(now, &mut actions);
        self.let_templates_rest(now, &mut actions);
        self.report(&mut actions);
        actions
    }

    /// When [`Event::Tick`] is due if nothing happens before.
    pub(crate) fn next_wake(&self, now: Time) -> Option<Time> {
        // Its end is an event for those who look at the endpoint, and for replicas that must run.
        let back_offs = [&self.back_off, &self.templates.back_off].into_iter();
        let back_offs = back_offs.filter_map(|back_off| back_off.holds(now)).map(|(until, _)| until);
        let replicas = self.replicas.values().filter_map(|replica| self.replica_wakes(now, replica));
        let expectations = self.expectations.end().filter(|end| *end > now);
        let templates = self.templates.iter().filter_map(|(_, template)| self.template_wakes(template));
        replicas.chain(templates).chain(self.waiters.next_deadline()).chain(expectations).chain(back_offs).min()
    }

    /// Drained, and nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.draining && self.replicas.is_empty() && self.templates.is_empty()
    }

    pub(crate) fn waiters(&self) -> u32 {
        self.waiters.len()
    }

    pub(crate) fn leases(&self) -> u32 {
        self.replicas.values().map(|replica| replica.leases).sum()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// No replica runs or starts, and none may before the back-off is over.
    pub(crate) fn is_failed(&self, now: Time) -> bool {
        self.back_off.holds(now).is_some() && !self.replicas.values().any(Replica::accepts)
    }

    /// The replicas with their states and leases.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (ReplicaKey, &State, u32)> {
        self.replicas.iter().map(|(key, replica)| (*key, &replica.state, replica.leases))
    }

    fn take_in(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        if let Some(key) = event.told_of().filter(|key| self.templates.get(*key).is_some()) {
            return self.template_event(now, key, event, actions);
        }
        match event {
            Event::Acquire { waiter, deadline } => {
                self.waiters.push(waiter, deadline);
                self.expectations.request_came();
            }
            Event::Cancel { waiter } => {
                self.waiters.remove(waiter);
            }
            Event::Expect { expectation, until } => self.expectations.insert(expectation, until),
            Event::Unexpect { expectation } => self.expectations.remove(expectation),
            Event::Release { replica } => self.released(now, replica),
            Event::Served { replica } => self.served(replica),
            Event::Silent { replica } => self.silent(now, replica, actions),
            Event::Deaf { replica } => self.deaf(now, replica, actions),
            Event::Unwell { replica, cause } => self.unwell(now, replica, cause, actions),
            Event::Unready { replica, cause } => self.unready(replica, cause, actions),
            Event::ReadyAgain { replica } => self.ready_again(replica, actions),
            Event::Doubted { replica, doubted } => self.doubted(replica, doubted),
            Event::MemoryGranted { replica } => self.memory_granted(now, replica, actions),
            Event::MemoryShort { replica, short } => self.memory_short(replica, short),
            Event::Evict { replica } => self.retire(replica, None, actions),
            Event::Created { replica, claimed } => self.created(replica, claimed),
            Event::Seen { replica, what } => self.seen(replica, what),
            Event::Ready { replica } => self.ready(now, replica, actions),
            Event::LoadFailed { replica, reason } => self.load_failed(now, replica, reason, actions),
            Event::Frozen { replica } => self.frozen(replica, actions),
            Event::Thawed { replica, unasked } => self.thawed(now, replica, unasked, actions),
            Event::Refused { replica, reason } => self.refused(now, replica, reason, actions),
            Event::Exited { replica, cause } => self.exited(now, replica, &cause, actions),
            Event::Removed { replica } => self.removed(now, replica, actions),
            Event::Adopt { replica, state, template } => self.adopt(now, replica, state, template, actions),
            Event::AdoptTemplate { template, state, prepared } => {
                self.adopt_template(now, template, state, prepared, actions);
            }
            Event::Prepared { templates } => self.prepared(now, templates, actions),
            Event::NewRevision { settings } => self.new_revision(now, settings, actions),
            Event::Drain { until } => self.drain(now, until, actions),
            Event::Tick => {}
        }
    }

    /// Tells the ledger of each replica and template whose use changed in this step.
    fn report(&mut self, actions: &mut Vec<Action>) {
        let is_awaited = !self.waiters.is_empty();
        for (key, replica) in &mut self.replicas {
            let usage = match replica.usage() {
                // Requests wait for it: its memory is not for others, and not for another of its own.
                Usage::Idle if is_awaited && replica.state.unready().is_some() => Usage::Busy,
                usage => usage,
            };
            if usage != replica.reported {
                replica.reported = usage;
                actions.push(Action::Report { replica: *key, usage });
            }
        }
        for (key, template) in self.templates.iter_mut() {
            let usage = template.usage();
            if usage != template.reported {
                template.reported = usage;
                actions.push(Action::Report { replica: key, usage });
            }
        }
    }
}

#[cfg(test)]
mod tests;
