//! How a replica comes to its model: forked from the endpoint's template, or loading it for itself.

use dormouse_sandbox::messages::ExitCause;
use dormouse_spec::format_duration;

use super::EndpointPolicy;
use crate::policy::{
    Action, Note, ReplicaKey, Role, State, TemplateState, Time,
    template::{FORK_DEATHS_MAX, FORK_DEATHS_WITHIN},
};

impl EndpointPolicy {
    /// A replica has its memory. Only now is a template begun, so that it never takes what a replica needs.
    pub(super) fn begin(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) {
        let template = match self.templates.current() {
            Some((template, TemplateState::Ready)) => return self.create(now, key, Some(template), actions),
            Some((template, _)) => Some(template),
            None => self.begin_template(now, actions),
        };
        match (template, self.replicas.get_mut(&key)) {
            (Some(template), Some(replica)) => {
                replica.state = State::Awaiting { template };
                actions.push(Action::Await { replica: key });
            }
            _ => self.create(now, key, None, actions),
        }
    }

    fn create(&mut self, now: Time, key: ReplicaKey, template: Option<ReplicaKey>, actions: &mut Vec<Action>) {
        if let Some(replica) = self.replicas.get_mut(&key) {
            replica.state = State::Creating { since: now };
            replica.template = template;
            let role = template.map_or(Role::Serve, |template| Role::Fork { template });
            actions.push(Action::Create { replica: key, role });
        }
    }

    /// The template is ready.
    pub(super) fn fork_who_awaits(&mut self, now: Time, template: ReplicaKey, actions: &mut Vec<Action>) {
        for key in self.awaiting(template) {
            self.create(now, key, Some(template), actions);
        }
    }

    /// The template will not be.
    pub(super) fn let_load_for_themselves(&mut self, now: Time, template: ReplicaKey, actions: &mut Vec<Action>) {
        for key in self.awaiting(template) {
            self.create(now, key, None, actions);
        }
    }

    fn awaiting(&self, template: ReplicaKey) -> Vec<ReplicaKey> {
        let awaits = State::Awaiting { template };
        self.replicas.iter().filter(|(_, replica)| replica.state == awaits).map(|(key, _)| *key).collect()
    }

    /// How many replicas that live were forked from it.
    pub(super) fn forks_of(&self, template: ReplicaKey) -> u32 {
        let lives = self.replicas.values().filter(|it| it.template == Some(template) && it.state != State::Exited);
        u32::try_from(lives.count()).unwrap_or(u32::MAX)
    }

    /// Whether a replica was forked from it that may have something to finish. One that was told to end has not,
    /// and one that does not obey ends with its template.
    pub(super) fn has_serving_forks(&self, template: ReplicaKey) -> bool {
        let ends = |state: &State| matches!(state, State::Stopping { .. } | State::Exited);
        self.replicas.values().any(|it| it.template == Some(template) && !ends(&it.state))
    }

    /// A replica did not come to serve. Where it was forked, that says nothing of the model, which was loaded:
    /// who waits gets another replica, which loads it for itself, and whose failure would count.
    pub(super) fn not_started(&mut self, now: Time, key: ReplicaKey, cause: String, actions: &mut Vec<Action>) {
        match self.replicas.get(&key).and_then(|replica| replica.template) {
            Some(template) => {
                actions.push(Action::Note(Note::ForkFailed { replica: key, cause: cause.clone() }));
                let cause = format!("a replica that was forked from it did not come to serve: {cause}");
                self.template_failed(now, template, cause, actions);
            }
            None => self.start_failed(now, key, cause, actions),
        }
    }

    /// A replica died in service. Where too many of one template were killed by a signal, what they share may
    /// be broken: another template is begun with the next start.
    pub(super) fn count_against_template(
        &mut self,
        now: Time,
        key: ReplicaKey,
        cause: &ExitCause,
        actions: &mut Vec<Action>,
    ) {
        let ExitCause::Signal { .. } = cause else { return };
        let Some(key) = self.replicas.get(&key).and_then(|replica| replica.template) else { return };
        let Some(template) = self.templates.get_mut(key) else { return };
        if template.count_death(now) && self.condemn(now, key, actions) {
            let within = format_duration(FORK_DEATHS_WITHIN);
            let cause = format!("{FORK_DEATHS_MAX} replicas forked from it were killed by a signal within {within}");
            actions.push(Action::Note(Note::TemplateReplaced { template: key, cause }));
        }
    }
}
