//! A template of the product's own worker, and servers that do what they are told.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::net::UnixStream,
};

use dormouse_attacks::{Ground, Outcome};
use dormouse_driver::{
    Daemon, Node, machine,
    script::{answer, model, replica_of, template_of},
};
use dormouse_sandbox::messages::{Event, ReplicaId, ReplicaSpec, Work};
use dormouse_spec::{Bytes, Limits};
use dormouse_tests::paths;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_servers-weakened");
/// The template, as every process of its container numbers it.
pub(crate) const TEMPLATE: i32 = 1;
/// ONNX Runtime takes more than the scripted workers do.
const MEMORY: Bytes = Bytes::from_mebibytes(256);

pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) node: Node,
    pub(crate) template: ReplicaSpec,
    serial: u64,
}

/// What it was that let no server serve.
pub(crate) struct NoServer(String);

impl From<NoServer> for Outcome {
    fn from(NoServer(cause): NoServer) -> Self {
        Self::Stopped(format!("no such server comes to serve: {cause}"))
    }
}

impl Stage {
    pub(crate) fn enter(ground: &Ground) -> Self {
        let mut daemon = Daemon::start_with(|settings| {
            settings.program.clone_from(&ground.program);
            settings.environment.clone_from(&ground.environment);
            let stored = settings.data.join("models").join(model().directory_name()).join("model.onnx");
            fs::copy(paths::fixture("identity_matrix.onnx"), stored).unwrap();
        });
        let mut node = daemon.node();
        let template = template_of(&spec(1));
        node.start(&template);
        Self { daemon, node, template, serial: 0 }
    }

    /// Another server of the template.
    pub(crate) fn server(&mut self) -> Result<ReplicaId, NoServer> {
        self.serial += 1;
        let work = Work::Fork { template: self.template.replica.clone() };
        let spec = spec(self.serial).with_work(work);
        self.node.create(&spec);
        let mut why = None;
        loop {
            match self.node.of(&spec.replica) {
                Event::Ready { replica, .. } => return Ok(replica),
                Event::Created { .. } => {}
                Event::LoadFailed { reason, .. } => why = Some(reason),
                Event::Exited { cause, .. } => {
                    assert!(matches!(self.node.of(&spec.replica), Event::Removed { .. }));
                    return Err(NoServer(why.unwrap_or_else(|| cause.to_string())));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// What a server answers that is told to do something; nothing where it does not live to tell.
    pub(crate) fn tell(&self, server: &ReplicaId, deed: &str) -> String {
        let mut connection = match UnixStream::connect(self.node.socket(server)) {
            Err(error) if [ErrorKind::ConnectionRefused, ErrorKind::NotFound].contains(&error.kind()) => {
                return String::new();
            }
            connection => connection.unwrap(),
        };
        let request = format!("GET / HTTP/1.1\r\nhost: m\r\nconnection: close\r\ndeed: {deed}\r\n\r\n");
        match connection.write_all(request.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return String::new(),
            written => written.unwrap(),
        }
        let told = answer(&connection);
        told.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    pub(crate) fn is_alive(&self, server: &ReplicaId) -> bool {
        !self.tell(server, "mark").is_empty()
    }

    /// Its number in its container, which its siblings can guess: they are counted up.
    pub(crate) fn number(&self, server: &ReplicaId) -> i32 {
        let pid = machine::process(&self.daemon.group(), server);
        machine::status_of(pid, "NSpid:").split_whitespace().next_back().unwrap().parse().unwrap()
    }

    /// Ends an attack at a point where there may be no server to go on with.
    pub(crate) fn leave(self, outcome: Result<Outcome, NoServer>) -> Outcome {
        self.daemon.end(self.node);
        outcome.unwrap_or_else(Outcome::from)
    }
}

fn spec(serial: u64) -> ReplicaSpec {
    let spec = replica_of("m", serial);
    ReplicaSpec { limits: Limits { memory: MEMORY, ..spec.limits }, ..spec }
}
