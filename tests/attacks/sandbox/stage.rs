//! A daemon of the attacked build, the node's place in it, and hostile replicas.

use std::os::unix::net::UnixStream;

use dormouse_attacks::{Ground, Replicas};
use dormouse_driver::{
    Daemon, Node, daemon,
    script::{converse, replica_of},
};
use dormouse_sandbox::messages::{Event, ExitCause, ReplicaId, Work};
use dormouse_spec::Digest;

/// The build in which a defence can be missing.
pub(crate) const WEAKENED: &str = env!("CARGO_BIN_EXE_sandbox-weakened");
const HOSTILE: &str = "hostile";

pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) node: Node,
    serial: u64,
}

impl Stage {
    pub(crate) fn enter(ground: &Ground) -> Self {
        daemon::set_pool_size(u32::from(ground.replicas == Replicas::Claimed));
        daemon::set_forked(ground.replicas == Replicas::Forked);
        let mut daemon = Daemon::start_with(|settings| {
            settings.program.clone_from(&ground.program);
            settings.environment.clone_from(&ground.environment);
        });
        let node = daemon.node();
        Self { daemon, node, serial: 0 }
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

    pub(crate) fn ask(&self, replica: &ReplicaId, command: &str) -> String {
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
