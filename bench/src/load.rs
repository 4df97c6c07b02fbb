//! Requests that come when they are due, whether or not the ones before are answered: an open loop.
//!
//! A latency is counted from when its request was due. In a closed loop a server that stops for a second delays one
//! request and hides the hundred that would have come meanwhile.

mod arrivals;
mod open_loop;

pub(crate) use arrivals::poisson;
pub(crate) use open_loop::{Door, Outcome, Target, run};
