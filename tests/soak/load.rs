//! One daemon under test, as its clients know it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use dormouse_tests::{Connection, Daemon, Request, Response};

use crate::{
    answers::{Allowed, Answers, Asked, Told},
    model::{Worker, unique_number},
};

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) worker: Worker,
    pub(crate) answers: Answers,
    admin_socket: PathBuf,
    /// Another one after each start of the daemon.
    address: RwLock<SocketAddr>,
    enough: AtomicBool,
}

impl World {
    pub(crate) fn of(worker: Worker, daemon: &Daemon) -> Self {
        let admin_socket = daemon.home().run().join("admin.sock");
        let (address, enough) = (RwLock::new(daemon.address()), AtomicBool::new(false));
        Self { worker, answers: Answers::default(), admin_socket, address, enough }
    }

    /// Sends one request on a connection of its own and takes note of what became of it.
    pub(crate) fn call(&self, endpoint: &str, allowed: Allowed) {
        let asked = Asked { worker: self.worker, endpoint, number: unique_number(), allowed };
        let begun = self.answers.deaths.now();
        let told = self.send(&self.worker.request(endpoint, asked.number));
        self.answers.take(asked, begun, told);
    }

    pub(crate) fn send(&self, request: &Request) -> Told {
        let address = *self.address.read().unwrap();
        match Connection::try_to(address) {
            Ok(mut connection) => connection.try_send(request).map_or_else(Told::Broken, Told::Answer),
            Err(error) => Told::NotTaken(error),
        }
    }

    /// What the admin API answers, where somebody does.
    pub(crate) fn admin(&self, path: &str) -> Option<Response> {
        Connection::to_socket(&self.admin_socket).ok()?.try_send(&Request::get(path)).ok()
    }

    pub(crate) fn is_at_zero(&self, endpoint: &str) -> bool {
        let status = self.admin(&format!("/v1/endpoints/{endpoint}")).filter(|answer| answer.status == 200);
        status.is_some_and(|answer| answer.json()["replicas"].as_array().is_some_and(Vec::is_empty))
    }

    pub(crate) fn moved_to(&self, address: SocketAddr) {
        *self.address.write().unwrap() = address;
    }

    pub(crate) fn stop_load(&self) {
        self.enough.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_enough(&self) -> bool {
        self.enough.load(Ordering::SeqCst)
    }
}

/// Ends the load when it is dropped, also where a phase fails: its threads are waited for.
pub(crate) struct Enough<'a>(pub(crate) &'a World);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.stop_load();
    }
}
