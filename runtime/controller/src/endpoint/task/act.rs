//! From the policy's actions to requests, grants and refusals.

use std::sync::Arc;

use dormouse_sandbox::messages::{ReplicaId, Request, Work};
use dormouse_spec::Bytes;
use tokio::time::Instant;

use super::EndpointTask;
use crate::{
    AcquireError, Asked, Lease, Rung,
    endpoint::members::Member,
    lease::Leased,
    metrics::Outcome,
    policy::{Action, Note, Refusal, ReplicaKey, Role, Usage, WaiterId},
};

impl EndpointTask {
    pub(super) async fn act(&mut self, action: Action) {
        match action {
            Action::Reserve { replica } => self.reserve(replica).await,
            Action::Free { replica } => {
                self.wakes.gone(replica);
                if let Some(member) = self.members.remove(replica) {
                    self.account.release(member.leased.id().clone()).await;
                }
            }
            Action::Report { replica, usage } => {
                if let Some(id) = self.members.id(replica) {
                    self.account.report(id, usage).await;
                }
            }
            Action::ReserveFree { template } => {
                let (id, memory) = self.new_member(template);
                self.account.reserve_free(id, memory, Usage::TemplateInUse).await;
            }
            Action::Await { replica } => self.wakes.await_template(replica, Instant::now()),
            Action::Create { replica, role } => self.create(replica, role).await,
            Action::Freeze { replica } => self.ask(replica, |replica| Request::Freeze { replica }).await,
            Action::Thaw { replica } => {
                self.metrics.started(Rung::Frozen, Outcome::Ok);
                self.begin_wake(replica, Rung::Frozen);
                self.ask(replica, |replica| Request::Thaw { replica }).await;
            }
            Action::Stop { replica, grace } => {
                let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
                self.ask(replica, |replica| Request::Stop { replica, grace_ms }).await;
            }
            Action::Grant { waiter, replica } => self.grant(waiter, replica),
            Action::Refuse { waiter, refusal } => {
                if let Some(waiter) = self.waiting.remove(&waiter) {
                    let _ = waiter.answer.send(Err(refusal.into()));
                }
            }
            Action::Note(note) => self.note(note),
        }
    }

    async fn reserve(&mut self, replica: ReplicaKey) {
        let (id, memory) = self.new_member(replica);
        self.begin_wake(replica, Rung::Created);
        self.account.reserve(id, memory).await;
    }

    fn new_member(&mut self, key: ReplicaKey) -> (ReplicaId, Bytes) {
        let (endpoint, revision) = (&self.revision.endpoint, self.revision.number);
        let id = self.node.new_id(&endpoint.name, revision);
        let leased =
            Arc::new(Leased::new(id.clone(), self.node.address(&self.revision, &id), Arc::clone(self.returns.wake())));
        let memory = endpoint.limits.memory;
        self.members.insert(key, Member::new(leased, revision, memory));
        (id, memory)
    }

    async fn create(&mut self, replica: ReplicaKey, role: Role) {
        let body_bytes_max = self.node.settings.body_bytes_max;
        let working = |work| self.revision.working(work, body_bytes_max);
        let payload = match role {
            Role::Serve => Some(self.revision.serving(body_bytes_max)),
            Role::Template { prepared } => working(Work::Template { prepared }),
            Role::Fork { template } => self.members.id(template).and_then(|template| working(Work::Fork { template })),
        };
        if let (Some(id), Some(payload)) = (self.members.id(replica), payload) {
            self.wakes.create(replica, Instant::now());
            let limits = self.revision.endpoint.limits;
            let spec = self.node.replica_spec_for(&self.revision, id, payload, limits);
            self.node.outbox.create(spec, self.facts_sender.clone()).await;
        }
    }

    /// Where others serve meanwhile, what requests waited so far was for those, and not for this wake.
    fn begin_wake(&mut self, replica: ReplicaKey, rung: Rung) {
        let Some(id) = self.members.id(replica) else { return };
        let came = self.waiting.values().map(|it| it.came).chain(self.expected.values().map(|it| it.came)).min();
        let now = Instant::now();
        let began = came.filter(|_| self.policy.leases() == 0).unwrap_or(now);
        let asked = if came.is_some() { Asked::Request } else { Asked::MinReplicas };
        self.wakes.begin(replica, id, rung, asked, began);
    }

    async fn ask(&self, replica: ReplicaKey, request: impl FnOnce(ReplicaId) -> Request) {
        if let Some(id) = self.members.id(replica) {
            self.node.outbox.send(request(id)).await;
        }
    }

    /// A caller who is gone drops the lease where it was sent, which returns it.
    fn grant(&mut self, waiter: WaiterId, replica: ReplicaKey) {
        if let (Some(waiter), Some(member)) = (self.waiting.remove(&waiter), self.members.get(replica)) {
            let first = self.wakes.granted(replica, Instant::now());
            let _ = waiter.answer.send(Ok(Lease::new(Arc::clone(&member.leased), first)));
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Started { replica } => self.metrics.started(self.wakes.rung(replica), Outcome::Ok),
            Note::StartFailed { replica, cause } => {
                self.metrics.started(self.wakes.rung(replica), Outcome::Failed);
                self.wakes.fail(replica, &cause);
                self.fail(replica, "a replica could not be started", &cause);
            }
            Note::ClaimLost { replica, cause } => {
                self.metrics.started(self.wakes.rung(replica), Outcome::Failed);
                self.wakes.fail(replica, &cause);
                self.fail(replica, "a container of the pool was lost, another is taken", &cause);
            }
            Note::ForkFailed { replica, cause } => {
                self.metrics.started(Rung::Forked, Outcome::Failed);
                self.wakes.fail(replica, &cause);
                self.fail(replica, "a replica could not be forked, another loads the model for itself", &cause);
            }
            Note::TemplateFailed { template, cause } => {
                self.fail(template, "a template failed, replicas load the model for themselves", &cause);
            }
            Note::TemplateReplaced { template, cause } => self.fail(template, "a template is replaced", &cause),
            Note::Crashed { replica, cause } => {
                self.wakes.fail(replica, &cause);
                self.fail(replica, "a replica died", &cause);
            }
            Note::Deaf { replica } => {
                self.fail(replica, "a replica is replaced", "nothing listens any more where requests go");
            }
            Note::Unready { replica, cause } => {
                let replica = self.members.id(replica).map(String::from).unwrap_or_default();
                tracing::warn!(replica, cause, "a replica takes no requests for now");
            }
            Note::ReadyAgain { replica } => {
                self.log(replica, "readiness probe: it takes requests again");
                let replica = self.members.id(replica).map(String::from).unwrap_or_default();
                tracing::info!(replica, "a replica takes requests again");
            }
            Note::FreezeFailed { replica } => {
                self.fail(replica, "a replica was not frozen", "the kernel did not stop all its tasks");
            }
        }
    }

    fn fail(&mut self, replica: ReplicaKey, what: &str, cause: &str) {
        let replica = self.members.id(replica).map(String::from).unwrap_or_default();
        tracing::warn!(replica, cause, "{what}");
        self.last_failure = Some(format!("{what}: {cause}"));
    }
}

impl From<Refusal> for AcquireError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::QueueFull { waiters, retry_after } => Self::QueueFull { waiters, retry_after },
            Refusal::BackOff { cause, retry_after } => Self::BackOff { cause, retry_after },
            Refusal::StartFailed { cause, retry_after } => Self::StartFailed { cause, retry_after },
            Refusal::Draining { retry_after } => Self::Draining { retry_after },
            Refusal::Deadline { place } => Self::DeadlineExceeded { place },
            Refusal::Unready { cause } => Self::Unready { cause },
            Refusal::OutOfCapacity { short, retry_after } => Self::OutOfCapacity { short, retry_after },
        }
    }
}
