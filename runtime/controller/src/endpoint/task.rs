mod act;
mod look;
mod take_in;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
};

use dormouse_sandbox::messages::{ReplicaId, ReplicaReport, ReplicaState, Work};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    Parts, Returns, adopted_state,
    inbox::Call,
    members::{Member, Members},
    view::{Publisher, snapshot},
    wakes::Wakes,
};
use crate::{
    AcquireError, EndpointView, Lease,
    lease::Leased,
    link::{FactInbox, FactSender},
    memory::{Account, until},
    metrics::EndpointMetrics,
    node::{Node, began},
    policy::{Action, EndpointPolicy, Event, ExpectationId, ReplicaKey, WaiterId},
    revision::Revision,
};

/// A caller that waits.
struct Waiter {
    came: Instant,
    answer: oneshot::Sender<Result<Lease, AcquireError>>,
}

/// A request that is on its way.
struct Expected {
    came: Instant,
    ended: Arc<AtomicBool>,
}

/// The owner of one endpoint's replicas.
pub(super) struct EndpointTask {
    node: Node,
    revision: Revision,
    policy: EndpointPolicy,
    members: Members,
    waiting: HashMap<WaiterId, Waiter>,
    waiters_so_far: u64,
    expected: HashMap<ExpectationId, Expected>,
    wakes: Wakes,
    returns: Arc<Returns>,
    unleased: Vec<oneshot::Sender<()>>,
    account: Account,
    facts: FactInbox,
    facts_sender: FactSender,
    metrics: EndpointMetrics,
    last_failure: Option<String>,
    publisher: Publisher,
    /// Events that are yet to be taken in, first of all those of adoption.
    ahead: Vec<Event>,
}

impl EndpointTask {
    pub(super) fn new(node: Node, parts: Parts, returns: Arc<Returns>) -> (Self, watch::Receiver<Arc<EndpointView>>) {
        let Parts { revision, account, facts, facts_sender, adopted } = parts;
        let mut policy = EndpointPolicy::new(revision.policy_settings(&node.settings));
        let mut members = Members::default();
        let adopted: Vec<_> = adopted.into_iter().map(|report| (policy.new_key(), report)).collect();
        let mut ahead = adoptions(&revision, &node, &adopted);
        let mut started = Vec::new();
        for (key, report) in adopted {
            let id = report.spec.replica.clone();
            let leased = Arc::new(Leased::new(id.clone(), node.address(&revision, &id), Arc::clone(returns.wake())));
            let (number, memory) = (id.revision(), report.spec.limits.memory);
            let ReplicaReport { started_at_ms, premade, .. } = report;
            let created = began(started_at_ms);
            let member =
                Member { started_at_ms, premade, created, has_log: true, ..Member::new(leased, number, memory) };
            members.insert(key, member);
            if report.state == ReplicaState::Starting {
                started.push(key);
            }
        }
        ahead.push(Event::Tick);
        let wakes = Wakes::new(node.metrics.clone());
        let view = snapshot(&revision, &policy, &members, &wakes, None, node.clock.now());
        let (publisher, view) = Publisher::new(view);
        let metrics = node.metrics.endpoint(&revision.endpoint.name);
        let mut task = Self {
            node,
            revision,
            policy,
            members,
            waiting: HashMap::new(),
            waiters_so_far: 0,
            expected: HashMap::new(),
            wakes,
            returns,
            unleased: Vec::new(),
            account,
            facts,
            facts_sender,
            metrics,
            last_failure: None,
            publisher,
            ahead,
        };
        for key in started {
            task.look_again(key);
        }
        (task, view)
    }

    /// What is waited for here is all that an endpoint at rest waits for. What an event leads to has a place of its
    /// own for as long as it takes: in here it would be set aside for good.
    pub(super) async fn run(mut self: Box<Self>, mut calls: mpsc::Receiver<Box<Call>>) {
        for event in std::mem::take(&mut self.ahead) {
            Box::pin(self.happen(event)).await;
        }
        while !self.policy.is_over() {
            let returns = Arc::clone(&self.returns);
            let wake = self.next_wake();
            tokio::select! {
                Some(fact) = self.facts.recv() => Box::pin(self.take_fact(fact)).await,
                () = returns.wake().notified() => Box::pin(self.take_returns()).await,
                Some(call) = calls.recv() => Box::pin(self.take_call(*call)).await,
                () = until(wake) => Box::pin(self.happen(Event::Tick)).await,
            }
            self.settle();
        }
        Box::pin(self.end()).await;
    }

    /// Asks the policy about one event and does what it says.
    async fn happen(&mut self, event: Event) {
        let is_frequent = matches!(
            event,
            Event::Acquire { .. }
                | Event::Doubted { .. }
                | Event::Cancel { .. }
                | Event::Release { .. }
                | Event::Served { .. }
                | Event::Expect { .. }
                | Event::Unexpect { .. }
        );
        let actions = self.policy.step(self.node.clock.now(), event);
        let small =
            |action: &Action| matches!(action, Action::Grant { .. } | Action::Refuse { .. } | Action::Report { .. });
        self.publisher.changed(!is_frequent || !actions.iter().all(small));
        for action in actions {
            self.act(action).await;
        }
        self.watch_the_awake();
    }

    fn next_wake(&self) -> Option<Instant> {
        let policy = self.policy.next_wake(self.node.clock.now()).map(|at| self.node.clock.instant(at));
        policy.into_iter().chain(self.publisher.due()).min()
    }

    /// What follows from the state after an event: which wakes are over, who waited for the last lease, who
    /// watches.
    fn settle(&mut self) {
        self.wakes.settle(!self.expected.is_empty());
        if self.wakes.take_changed() {
            self.publisher.changed(true);
        }
        if self.policy.leases() == 0 {
            self.unleased.drain(..).for_each(|done| {
                let _ = done.send(());
            });
        }
        if self.publisher.is_due() {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let now = self.node.clock.now();
        let last_failure = self.last_failure.as_deref();
        let view = snapshot(&self.revision, &self.policy, &self.members, &self.wakes, last_failure, now);
        self.publisher.publish(view);
    }

    /// Nothing of the endpoint is left. The end of the view tells those who wait for it.
    async fn end(self: Box<Self>) {
        self.metrics.remove();
        self.account.close().await;
    }
}

/// How the policy is told of what outlived the node process: templates after the replicas that were forked
/// from them.
fn adoptions(revision: &Revision, node: &Node, adopted: &[(ReplicaKey, ReplicaReport)]) -> Vec<Event> {
    let key_of = |id: &ReplicaId| adopted.iter().find(|(_, report)| report.spec.replica == *id).map(|(key, _)| *key);
    let (mut replicas, mut templates) = (Vec::new(), Vec::new());
    for (key, report) in adopted {
        let (key, state) = (*key, adopted_state(revision, node, report));
        match report.spec.work() {
            Some(Work::Template { prepared }) => {
                templates.push(Event::AdoptTemplate { template: key, state, prepared: *prepared });
            }
            Some(Work::Fork { template }) => {
                replicas.push(Event::Adopt { replica: key, state, template: key_of(template) });
            }
            Some(Work::Serve { .. } | Work::Prepare {}) | None => {
                replicas.push(Event::Adopt { replica: key, state, template: None });
            }
        }
    }
    replicas.into_iter().chain(templates).collect()
}
