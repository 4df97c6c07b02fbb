//! How one replica is confined: the spawner, the only privileged code of the system.
//!
//! The rest of the system sees two modules: [`messages`], the closed list of what may be asked of
//! the spawner and what it tells, and [`channel`], which carries them.

pub mod channel;
pub mod messages;
