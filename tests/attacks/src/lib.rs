//! Attacks that are really run: against the product, which must stop them, and against a build of it
//! that lacks one defence, where they must succeed. A defence that nothing gets through, present or
//! missing, was not tested.
//!
//! [`Attack`] is one of them, [`suite`] runs a list of them and prints the table, [`hostile`] is the
//! program that takes the worker's place in a container, and [`taken_over`] what a server of the
//! product's own does in an attacker's hands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod attack;
pub mod hostile;
pub mod suite;
pub mod taken_over;

pub use attack::{Attack, Ground, Outcome, Replicas};
