//! A daemon of the attacked build, the node's place in it, and hostile replicas.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use dormouse_attacks::{Ground, Replicas, hostile};
use dormouse_driver::{
    Daemon, Node, daemon,
    images::{as_user, image, with, with_program},
    layers::Archive,
    script::{converse, replica_of},
};
use dormouse_sandbox::messages::{Event, ExitCause, ReplicaId, ReplicaSpec, Request, Work};
use dormouse_spec::Digest;

/// The build in which a defence can be missing.
pub(crate) const WEAKENED: &str = env!("CARGO_BIN_EXE_sandbox-weakened");
const HOSTILE: &str = "hostile";
/// Where the hostile program is in its image.
const PROGRAM: &str = "/hostile";

/// Not root, whose rights within its container are its own; where nothing but /tmp can be written, as a worker.
fn process(serial: u64, layer: Digest) -> ReplicaSpec {
    let spec = image(HOSTILE, serial, &[layer], &[PROGRAM, hostile::OF_IMAGE]);
    with(as_user(spec, "1234"), |payload| payload.read_only_root = true)
}

pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) node: Node,
    serial: u64,
    /// With the hostile program in it, where replicas are processes of an image.
    layer: Option<Digest>,
}

impl Stage {
    pub(crate) fn enter(ground: &Ground) -> Self {
        daemon::set_pool_size(u32::from(ground.replicas == Replicas::Claimed));
        daemon::set_forked(ground.replicas == Replicas::Forked);
        let mut daemon = Daemon::start_with(|settings| {
            settings.program.clone_from(&ground.program);
            settings.environment.clone_from(&ground.environment);
        });
        let mut node = daemon.node();
        let layer = (ground.replicas == Replicas::Image).then(|| {
            let data = daemon.settings.data.clone();
            node.unpack_image(&data, with_program(Archive::new(), &ground.program, PROGRAM))
        });
        Self { daemon, node, serial: 0, layer }
    }

    /// Starts another hostile replica.
    pub(crate) fn replica(&mut self) -> ReplicaId {
        self.try_replica().unwrap_or_else(|cause| panic!("{cause}"))
    }

    /// The same, where it may be that none comes to be.
    pub(crate) fn try_replica(&mut self) -> Result<ReplicaId, ExitCause> {
        self.try_replica_from(None)
    }

    /// The same, of a prepared model.
    pub(crate) fn try_replica_from(&mut self, prepared: Option<Digest>) -> Result<ReplicaId, ExitCause> {
        self.serial += 1;
        if let Some(layer) = self.layer {
            return self.try_process(&process(self.serial, layer));
        }
        let spec = replica_of(HOSTILE, self.serial).with_work(Work::Serve { prepared });
        self.node.create(&spec);
        loop {
            match self.node.of(&spec.replica) {
                Event::Ready { replica, .. } => return Ok(replica),
                Event::Created { .. } => {}
                Event::Exited { cause, .. } => {
                    assert!(matches!(self.node.of(&spec.replica), Event::Removed { .. }));
                    return Err(cause);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// A process of the image, once it listens.
    fn try_process(&mut self, spec: &ReplicaSpec) -> Result<ReplicaId, ExitCause> {
        self.node.ask(&Request::Create(Box::new(spec.clone())));
        match self.node.of(&spec.replica) {
            Event::Created { .. } => {
                drop(self.node.connect(&spec.replica, hostile::PORT));
                Ok(spec.replica.clone())
            }
            Event::Exited { cause, .. } => {
                assert!(matches!(self.node.of(&spec.replica), Event::Removed { .. }));
                Err(cause)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask(&mut self, replica: &ReplicaId, command: &str) -> String {
        if self.layer.is_some() {
            let mut connection = self.node.connect(replica, hostile::PORT);
            connection.write_all(command.as_bytes()).unwrap();
            connection.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            // It may not have survived.
            let _ = connection.read_to_string(&mut answer);
            return answer;
        }
        let connection = UnixStream::connect(self.node.socket(replica)).unwrap();
        converse(&connection, command)
    }

    /// What one hostile replica answers to one command.
    pub(crate) fn ask_one(ground: &Ground, command: &str) -> String {
        let mut stage = Self::enter(ground);
        let replica = stage.replica();
        let answer = stage.ask(&replica, command);
        stage.leave();
        answer
    }

    pub(crate) fn leave(self) {
        self.daemon.end(self.node);
    }
}
