//! What else a node may be doing while one endpoint is woken: others are being deleted, and others were woken just
//! before, so that a pool refills.

use std::{
    net::TcpStream,
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
    parts::rest::Rest,
};

/// What such a replica may have: small, since there are many.
const MEMORY: &str = "128Mi";
/// Endpoints that are woken right before the measured one. Fewer than a pool holds: what is measured is a claim beside
/// a refill, and not an empty pool.
const WOKEN: usize = 2;

#[derive(Debug)]
pub(super) struct Churn<'a> {
    daemon: &'a Daemon,
    model: Model,
    deleted: Vec<String>,
    woken: Vec<String>,
}

impl<'a> Churn<'a> {
    /// Endpoints of a tiny model: those to delete have a replica that has answered, those to wake are at zero.
    pub(super) fn prepare(bench: &Bench, daemon: &'a Daemon) -> Result<Self, Failure> {
        let model = Model::named(&bench.setup, "tiny_mlp")?;
        let names = |kind: &str, count| (0..count).map(|number| format!("{kind}-{number}")).collect::<Vec<_>>();
        let (deleted, woken) = (names("deleted", bench.effort.deletes), names("woken", WOKEN));
        let churn = Self { daemon, model, deleted, woken };
        churn.deploy("deleted", &churn.deleted, &EndpointSettings::resting("9m", "10m"))?;
        churn.deploy("woken", &churn.woken, &Rest::Zero.settings())?;
        for name in &churn.deleted {
            daemon.first_answer(name, &churn.model)?;
        }
        churn.woken.iter().try_for_each(|name| daemon.until_phases(name, &[]))?;
        Ok(churn)
    }

    fn deploy(&self, kind: &str, names: &[String], settings: &EndpointSettings) -> Result<(), Failure> {
        // A template of each would be a second container to make and to delete.
        let settings = settings.clone().annotated("keep-template", "0s");
        let settings = EndpointSettings { max_replicas: Some(1), memory: Some(MEMORY), ..settings };
        let manifests = names.iter().map(|name| settings.manifest(name, &self.model)).collect::<Result<Vec<_>, _>>()?;
        self.daemon.deploy_manifest(kind, &manifests.join("---\n"))
    }

    /// Sends all deletes and the requests that wake others, does `work` once all are sent, and waits for their ends.
    /// Tells how many of the deletes were in flight when `work` was done.
    pub(super) fn during(self, work: impl FnOnce() -> Result<Duration, Failure>) -> Result<(Duration, usize), Failure> {
        let deletes = self.deleted.iter().map(|name| self.delete(name)).collect::<Result<Vec<_>, _>>()?;
        let wakes = self.woken.iter().map(|name| self.wake(name)).collect::<Result<Vec<_>, _>>()?;
        let answered = AtomicUsize::new(0);
        let (took, in_flight) = thread::scope(|scope| {
            let waiting: Vec<_> =
                deletes.into_iter().map(|connection| scope.spawn(|| ended(connection, &answered))).collect();
            let took = work();
            let in_flight = self.deleted.len() - answered.load(Ordering::Acquire);
            let ended = waiting.into_iter().map(|thread| thread.join());
            let ended = ended.map(|ended| ended.unwrap_or_else(|_| Err("its thread panicked".to_owned())));
            let ended = ended.collect::<Result<(), String>>();
            (ended.map_err(|error| format!("a delete in flight: {error}")).and(Ok(took)), in_flight)
        });
        for mut connection in wakes {
            connection.answer().map_err(|error| format!("a wake beside the measured one: {error}"))?;
        }
        for name in &self.woken {
            self.daemon.admin("DELETE", &format!("/v1/endpoints/{name}"))?;
        }
        Ok((took??, in_flight))
    }

    fn delete(&self, name: &str) -> Result<Connection<UnixStream>, Failure> {
        let mut connection = self.daemon.admin_connection()?;
        connection.write("DELETE", &format!("/v1/endpoints/{name}"), "", b"")?;
        Ok(connection)
    }

    fn wake(&self, name: &str) -> Result<Connection<TcpStream>, Failure> {
        let mut connection = self.daemon.connect()?;
        connection.write("POST", &format!("/v2/models/{name}/infer"), "", &self.model.request.body)?;
        Ok(connection)
    }
}

fn ended(mut connection: Connection<UnixStream>, answered: &AtomicUsize) -> Result<(), String> {
    connection.answer().map_err(|error| error.to_string())?;
    answered.fetch_add(1, Ordering::Release);
    Ok(())
}
