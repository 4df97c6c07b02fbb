//! How one replica is confined: the spawner, the only privileged code of the system.
//!
//! The unprivileged half sees four modules: [`messages`], the closed list of what may be asked of
//! the spawner and what it tells, [`commands`], the same of what runs commands in a container, [`channel`],
//! which carries both, and [`peer`], a question to the kernel for which there is no safe wrapper. The composition root calls [`spawner::run`]. [`archive`] reads
//! layers of images and touches nothing: it is fuzzed.

pub mod archive;
mod bpf;
pub mod cgroup;
pub mod channel;
pub mod commands;
mod creation;
mod defence;
pub mod devices;
mod egress;
mod error_chain;
pub mod instance;
mod libraries;
pub mod messages;
mod oci;
mod payload;
pub mod peer;
mod removal;
mod rootfs;
mod seccomp;
pub mod spawner;
mod stored;
mod uids;
mod unpack;
mod userns;
mod verification;
