//! The servers that a template has forked and not yet reaped.

use std::collections::BTreeMap;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::fork::{ForkError, Side, fork};
use crate::control::Ended;

/// Most servers of one template, ended ones that are not reaped included. An endpoint has at most as many replicas.
const SERVERS_MAX: usize = 1_000;

/// By the number that whoever orders them gives them.
#[derive(Debug, Default)]
pub(super) struct Servers(BTreeMap<u64, Pid>);

/// Why a server was not forked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServersError {
    #[error("the template has a server {0} already")]
    Twice(u64),
    #[error("the template has {SERVERS_MAX} servers already")]
    TooMany,
    #[error("the template cannot fork")]
    Fork(#[from] ForkError),
}

/// Why the end of a server cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("the status of server {server} cannot be taken")]
pub(super) struct ReapError {
    server: u64,
    source: Errno,
}

impl Servers {
    /// Tells on which side of the fork this is.
    pub(super) fn fork(&mut self, server: u64) -> Result<Side, ServersError> {
        if self.0.contains_key(&server) {
            return Err(ServersError::Twice(server));
        }
        if self.0.len() >= SERVERS_MAX {
            return Err(ServersError::TooMany);
        }
        let (side, child) = fork()?;
        self.0.extend(child.map(|child| (server, child)));
        Ok(side)
    }

    /// Waits for its end, which the caller has brought about. `None` where there is no such server.
    pub(super) fn reap(&mut self, server: u64) -> Result<Option<Ended>, ReapError> {
        let Some(child) = self.0.remove(&server) else { return Ok(None) };
        let waited = retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
        let status = waited.map_err(|source| ReapError { server, source })?.map(|(_, status)| status);
        Ok(status.and_then(|status| {
            let code = status.exit_status().map(Ended::Code);
            code.or_else(|| status.terminating_signal().map(Ended::Signal))
        }))
    }
}
