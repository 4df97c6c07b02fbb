//! What becomes of a template: from memory that is free through ready to gone. It makes starts quicker and is
//! never why one fails: whatever becomes of it, replicas can load the model for themselves.

use std::time::Duration;

use dormouse_spec::{Digest, format_duration};

use super::{EndpointPolicy, STOP_RETRY};
use crate::{
    Phase,
    policy::{
        Action, AdoptedState, Event, Note, ReplicaKey, Role, TemplateSettings, TemplateState, Time, template::Template,
    },
};

/// As the first process of its container it has no handler for a signal that asks.
const TEMPLATE_STOP_GRACE: Duration = Duration::ZERO;

impl EndpointPolicy {
    /// The templates with their phases, and how many replicas are forked from each.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (ReplicaKey, Phase, u32)> + '_ {
        self.templates.iter().map(|(key, template)| (key, template.phase(), self.forks_of(key)))
    }

    /// The one that replicas are forked from, or will be, with how many are.
    pub(crate) fn current_template(&self) -> Option<(TemplateState, u32)> {
        self.templates.current().map(|(key, state)| (state, self.forks_of(key)))
    }

    /// Why none is made now, though it could be.
    pub(crate) fn templates_held_back(&self, now: Time) -> Option<&str> {
        self.templates.back_off.holds(now).map(|(_, cause)| cause)
    }

    /// Begins a template where one is wanted and may be.
    pub(super) fn begin_template(&mut self, now: Time, actions: &mut Vec<Action>) -> Option<ReplicaKey> {
        let TemplateSettings { prepared, .. } = self.settings.templates?;
        if self.draining || self.templates.back_off.holds(now).is_some() {
            return None;
        }
        let template = self.new_key();
        self.templates.insert(template, Template::new(TemplateState::Reserving, prepared));
        actions.push(Action::ReserveFree { template });
        Some(template)
    }

    pub(super) fn template_event(&mut self, now: Time, key: ReplicaKey, event: Event, actions: &mut Vec<Action>) {
        let Some(template) = self.templates.get_mut(key) else { return };
        match (event, template.state) {
            (Event::MemoryGranted { .. }, TemplateState::Reserving) => {
                template.state = TemplateState::Creating { since: now };
                let role = Role::Template { prepared: template.prepared };
                actions.push(Action::Create { replica: key, role });
            }
            (Event::MemoryShort { .. }, TemplateState::Reserving) => {
                self.forget_template(key, actions);
                self.let_load_for_themselves(now, key, actions);
            }
            (Event::Evict { .. }, _) => self.evict_template(now, key, actions),
            (Event::Created { .. }, TemplateState::Creating { since }) => {
                template.state = TemplateState::Loading { since };
            }
            (Event::Ready { .. }, TemplateState::Creating { .. } | TemplateState::Loading { .. }) => {
                template.state = TemplateState::Ready;
                self.fork_who_awaits(now, key, actions);
            }
            (Event::LoadFailed { reason, .. }, TemplateState::Creating { .. } | TemplateState::Loading { .. }) => {
                self.template_failed(now, key, reason, actions);
            }
            (Event::Refused { reason, .. }, TemplateState::Creating { .. }) => {
                self.template_failed(now, key, reason, actions);
                self.forget_template(key, actions);
            }
            (Event::Refused { .. }, TemplateState::Stopping { .. }) => {
                template.state = TemplateState::Stopping { again: Some(now.after(STOP_RETRY)) };
            }
            (Event::Exited { cause, .. }, was) => {
                template.state = TemplateState::Exited;
                if was.lives() {
                    self.template_failed(now, key, cause.to_string(), actions);
                }
            }
            (Event::Removed { .. }, was) => {
                if was.lives() {
                    self.template_failed(now, key, "it is gone".to_owned(), actions);
                }
                self.forget_template(key, actions);
            }
            _ => {}
        }
    }

    fn forget_template(&mut self, key: ReplicaKey, actions: &mut Vec<Action>) {
        if self.templates.remove(key).is_some() {
            actions.push(Action::Free { replica: key });
        }
    }

    /// Nothing more is forked from it. Returns whether anything was to be until now.
    pub(super) fn condemn(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) -> bool {
        let Some(template) = self.templates.get_mut(key).filter(|template| !template.condemned) else { return false };
        template.condemned = true;
        self.let_load_for_themselves(now, key, actions);
        true
    }

    pub(super) fn condemn_all(&mut self, now: Time, actions: &mut Vec<Action>) {
        let keys: Vec<ReplicaKey> = self.templates.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.condemn(now, key, actions);
        }
    }

    /// It, or what was forked from it, did not come to be: for a while none is made. What is told of it after
    /// the first time is about the same failure.
    pub(super) fn template_failed(&mut self, now: Time, key: ReplicaKey, cause: String, actions: &mut Vec<Action>) {
        if self.condemn(now, key, actions) {
            self.templates.back_off.fail(now, cause.clone());
            actions.push(Action::Note(Note::TemplateFailed { template: key, cause }));
        }
    }

    /// The ledger counts on the memory, so its replicas go as well, each with its last lease: without them
    /// it is stopped.
    fn evict_template(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) {
        self.condemn(now, key, actions);
        let forks = self.replicas.iter().filter(|(_, replica)| replica.template == Some(key));
        let forks: Vec<ReplicaKey> = forks.map(|(fork, _)| *fork).collect();
        for fork in forks {
            self.retire(fork, None, actions);
        }
    }

    pub(super) fn adopt_template(
        &mut self,
        now: Time,
        key: ReplicaKey,
        found: AdoptedState,
        prepared: Digest,
        actions: &mut Vec<Action>,
    ) {
        let state = match found {
            AdoptedState::Loading => TemplateState::Loading { since: now },
            // None is ever frozen by us, but it is there all the same.
            AdoptedState::Ready | AdoptedState::Frozen | AdoptedState::Outdated => TemplateState::Ready,
            AdoptedState::Stopping => TemplateState::Stopping { again: None },
        };
        let is_wanted = self.settings.templates.is_some_and(|wanted| wanted.prepared == prepared)
            && matches!(found, AdoptedState::Loading | AdoptedState::Ready)
            && self.templates.current().is_none()
            && !self.draining;
        self.templates.insert(key, Template::new(state, prepared));
        if !is_wanted {
            self.condemn(now, key, actions);
        }
    }

    /// What is loaded already is of no use where another model was prepared, or none any more.
    pub(super) fn prepared(&mut self, now: Time, templates: Option<TemplateSettings>, actions: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.settings.templates, templates);
        if before.map(|it| it.prepared) != templates.map(|it| it.prepared) {
            self.condemn_all(now, actions);
        }
    }

    /// A template that did not become ready in time counts as failed.
    pub(super) fn give_up_late_templates(&mut self, now: Time, actions: &mut Vec<Action>) {
        let deadline = self.settings.start_deadline;
        let is_late = |state| match state {
            TemplateState::Creating { since } | TemplateState::Loading { since } => since.after(deadline) <= now,
            _ => false,
        };
        let late = self.templates.iter().filter(|(_, template)| is_late(template.state)).map(|(key, _)| key);
        for key in late.collect::<Vec<_>>() {
            let cause = format!("it was not ready within {}", format_duration(deadline));
            self.template_failed(now, key, cause, actions);
        }
    }

    /// Stops templates without replicas: those that are condemned, and those that were kept long enough.
    pub(super) fn let_templates_rest(&mut self, now: Time, actions: &mut Vec<Action>) {
        let keep = self.settings.templates.map_or(Duration::ZERO, |settings| settings.keep);
        let keys: Vec<ReplicaKey> = self.templates.iter().map(|(key, _)| key).collect();
        for key in keys {
            let (is_alone, serves) = (self.forks_of(key) == 0, self.has_serving_forks(key));
            let Some(template) = self.templates.get_mut(key) else { continue };
            template.alone_since = match (template.state, is_alone) {
                (TemplateState::Ready, true) => template.alone_since.or(Some(now)),
                _ => None,
            };
            let is_due = match template.state {
                TemplateState::Reserving if template.condemned => {
                    self.forget_template(key, actions);
                    continue;
                }
                TemplateState::Creating { .. } | TemplateState::Loading { .. } | TemplateState::Ready
                    if template.condemned =>
                {
                    !serves
                }
                TemplateState::Ready => template.alone_since.is_some_and(|since| since.after(keep) <= now),
                TemplateState::Stopping { again } => again.is_some_and(|at| at <= now),
                _ => false,
            };
            if is_due {
                template.state = TemplateState::Stopping { again: None };
                actions.push(Action::Stop { replica: key, grace: TEMPLATE_STOP_GRACE });
            }
        }
    }

    /// When something is due of a template.
    pub(super) fn template_wakes(&self, template: &Template) -> Option<Time> {
        match template.state {
            TemplateState::Stopping { again } => again,
            // Its replicas decide when it ends.
            _ if template.condemned => None,
            TemplateState::Creating { since } | TemplateState::Loading { since } => {
                Some(since.after(self.settings.start_deadline))
            }
            TemplateState::Ready => {
                Some(template.alone_since?.after(self.settings.templates.map_or(Duration::ZERO, |it| it.keep)))
            }
            TemplateState::Reserving | TemplateState::Exited => None,
        }
    }
}
