//! Decisions without I/O: events and a clock value in, actions out. Nothing here waits, logs or
//! reads a clock, so the same code can be driven by the endpoint's task, a test or a simulator.

mod back_off;
mod endpoint;
mod event;
mod expectations;
mod ledger;
mod replica;
mod template;
mod time;
mod waiters;

pub(crate) use back_off::BackOffSettings;
pub(crate) use endpoint::{EndpointPolicy, PolicySettings};
pub(crate) use event::{Action, AdoptedState, Event, ExpectationId, Note, Refusal, ReplicaKey, Role, Usage, WaiterId};
pub(crate) use ledger::{Ledger, Order, Owner};
pub(crate) use replica::State;
pub(crate) use template::{TemplateSettings, TemplateState};
pub(crate) use time::Time;
