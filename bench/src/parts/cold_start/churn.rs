//! What else a node may be doing while one endpoint is woken: others were just woken, so a pool refills, and others
//! are being deleted.

use std::{
    os::unix::net::UnixStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::{
    Bench, Failure,
    daemon::{Daemon, EndpointSettings},
    http::Connection,
    models::Model,
};

/// What such a replica may have: small, since there are many.
const MEMORY: &str = "128Mi";

#[derive(Debug)]
pub(super) struct Churn<'a> {
    daemon: &'a Daemon,
    names: Vec<String>,
}

impl<'a> Churn<'a> {
    /// Endpoints of a tiny model, each with a replica that has just answered.
    pub(super) fn prepare(bench: &Bench, daemon: &'a Daemon) -> Result<Self, Failure> {
        let model = Model::named(&bench.setup, "tiny_mlp")?;
        let names: Vec<String> = (0..bench.effort.deletes).map(|number| format!("churn-{number}")).collect();
        let settings =
            EndpointSettings { max_replicas: Some(1), memory: Some(MEMORY), ..EndpointSettings::resting("9m", "10m") };
        let manifests = names.iter().map(|name| settings.manifest(name, &model)).collect::<Result<Vec<_>, _>>()?;
        daemon.deploy_manifest("churn", &manifests.join("---\n"))?;
        for name in &names {
            daemon.first_answer(name, &model)?;
        }
        Ok(Self { daemon, names })
    }

    /// Sends all deletes, does `work` once all are sent, and waits for their ends. Tells how many of them were in flight
    /// when `work` was done.
    pub(super) fn during(self, work: impl FnOnce() -> Result<Duration, Failure>) -> Result<(Duration, usize), Failure> {
        let mut connections = Vec::new();
        for name in &self.names {
            let mut connection = self.daemon.admin_connection()?;
            connection.write("DELETE", &format!("/v1/endpoints/{name}"), "", b"")?;
            connections.push(connection);
        }
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            let waiting: Vec<_> =
                connections.into_iter().map(|connection| scope.spawn(|| ended(connection, &answered))).collect();
            let took = work();
            let in_flight = self.names.len() - answered.load(Ordering::Acquire);
            let ended = waiting.into_iter().map(|thread| thread.join());
            let ended = ended.map(|ended| ended.unwrap_or_else(|_| Err("its thread panicked".to_owned())));
            ended.collect::<Result<(), String>>().map_err(|error| format!("a delete in flight: {error}"))?;
            Ok((took?, in_flight))
        })
    }
}

fn ended(mut connection: Connection<UnixStream>, answered: &AtomicUsize) -> Result<(), String> {
    connection.answer().map_err(|error| error.to_string())?;
    answered.fetch_add(1, Ordering::Release);
    Ok(())
}
