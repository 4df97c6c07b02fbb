use std::{sync::Arc, time::Duration};

use dormouse_spec::Bytes;
use tokio::{sync::watch, time::Instant};

use super::{members::Members, wakes::Wakes};
use crate::{
    Condition, EndpointView, ReplicaView, TemplateUse, TemplateView,
    policy::{EndpointPolicy, TemplateState, Time},
    revision::Revision,
};

/// Leases and waiters change with every request; the view follows them this much later. What else
/// changes is published at once.
const VIEW_STALE_MAX: Duration = Duration::from_millis(50);

/// Publishes snapshots of the endpoint.
#[derive(Debug)]
pub(super) struct Publisher {
    sender: watch::Sender<Arc<EndpointView>>,
    /// Something has changed that is published at this time at the latest.
    due: Option<Instant>,
}

impl Publisher {
    pub(super) fn new(view: EndpointView) -> (Self, watch::Receiver<Arc<EndpointView>>) {
        let (sender, receiver) = watch::channel(Arc::new(view));
        (Self { sender, due: None }, receiver)
    }

    pub(super) fn changed(&mut self, at_once: bool) {
        let now = Instant::now();
        let due = if at_once { now } else { now + VIEW_STALE_MAX };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn publish(&mut self, view: EndpointView) {
        self.due = None;
        self.sender.send_replace(Arc::new(view));
    }
}

pub(super) fn snapshot(
    revision: &Revision,
    policy: &EndpointPolicy,
    members: &Members,
    wakes: &Wakes,
    last_failure: Option<&str>,
    now: Time,
) -> EndpointView {
    let replicas = policy.replicas().filter_map(|(key, state, leases)| {
        let member = members.get(key)?;
        Some(ReplicaView {
            id: member.leased.id().clone(),
            revision: member.revision,
            phase: state.phase(),
            unready: state.unready().map(str::to_owned),
            leases,
            started_at_ms: member.started_at_ms,
            memory: member.memory,
            control_group: member.control_group(),
        })
    });
    let templates = policy.templates().filter_map(|(key, phase, forks)| {
        let member = members.get(key)?;
        Some(TemplateView {
            id: member.leased.id().clone(),
            revision: member.revision,
            phase,
            forks,
            started_at_ms: member.started_at_ms,
            memory: member.memory,
            control_group: member.control_group(),
        })
    });
    let model = revision.model();
    EndpointView {
        endpoint: Arc::clone(&revision.endpoint),
        revision: revision.number,
        model: model.map(|model| model.model),
        is_image: revision.image().is_some(),
        image: revision.image().map(|image| image.served.clone()),
        model_bytes: model.map_or(Bytes::new(0), |model| model.bytes),
        preparation: model.map(|model| model.preparation.clone()),
        metadata: model.map(|model| model.metadata.clone()).unwrap_or_default(),
        condition: condition(policy, now),
        replicas: replicas.collect(),
        template: template(revision, policy, now),
        templates: templates.collect(),
        waiters: policy.waiters(),
        last_failure: last_failure.map(str::to_owned),
        wakes: wakes.ended(),
    }
}

fn template(revision: &Revision, policy: &EndpointPolicy, now: Time) -> TemplateUse {
    match (revision.templates(), policy.current_template()) {
        (Ok(None), _) => TemplateUse::Off,
        (Err(reason), _) => TemplateUse::Impossible { reason },
        (Ok(Some(_)), Some((TemplateState::Ready, forks))) => TemplateUse::Ready { forks },
        (Ok(Some(_)), Some(_)) => TemplateUse::Starting,
        (Ok(Some(_)), None) => match policy.templates_held_back(now) {
            Some(cause) => TemplateUse::HeldBack { cause: cause.to_owned() },
            None => TemplateUse::None,
        },
    }
}

fn condition(policy: &EndpointPolicy, now: Time) -> Condition {
    if policy.is_draining() {
        Condition::Draining
    } else if policy.is_failed(now) {
        Condition::Failed
    } else {
        Condition::Ready
    }
}
