//! What scripts are made of: a stored model, replicas of it, and calls to their workers.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    path::Path,
};

use dormouse_sandbox::messages::{ModelPayload, Payload, ReplicaId, ReplicaSpec, Work};
use dormouse_spec::{Bytes, Digest, Limits, MilliCpu};

use crate::{daemon::NODE_USER, machine::DEADLINE};

pub const LIMITS: Limits = Limits {
    cpu: MilliCpu::from_milli(500),
    memory: Bytes::from_mebibytes(64),
    pids: 32,
    tmp: Bytes::from_mebibytes(1),
};

pub fn model() -> Digest {
    Digest::from_sha256([7; 32])
}

/// What the node would have stored: its own.
pub fn store_model(data: &Path) {
    let directory = data.join("models").join(model().directory_name());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("model.onnx"), b"weights").unwrap();
    fs::set_permissions(directory.join("model.onnx"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    let node = nix::unistd::User::from_name(NODE_USER).unwrap().expect("every machine has it").uid.as_raw();
    for path in [directory.join("model.onnx"), directory] {
        std::os::unix::fs::chown(path, Some(node), None).unwrap();
    }
}

/// The endpoint's name tells the worker how to behave.
pub fn replica_of(endpoint: &str, serial: u64) -> ReplicaSpec {
    let endpoint = endpoint.parse().unwrap();
    ReplicaSpec {
        replica: ReplicaId::new(&endpoint, 1, serial),
        payload: Payload::Model(ModelPayload {
            model: model(),
            work: Work::Serve { prepared: None },
            intra_op_threads: 1,
            body_bytes_max: 1 << 20,
        }),
        limits: LIMITS,
        concurrency: 4,
    }
}

/// Serials of templates begin here.
const TEMPLATES: u64 = 1_000_000;

/// The template that such a replica can be forked of.
pub fn template_of(spec: &ReplicaSpec) -> ReplicaSpec {
    let (endpoint, revision) = (spec.replica.endpoint(), spec.replica.revision());
    let serial: u64 = spec.replica.as_str().rsplit('-').next().unwrap().parse().unwrap();
    let replica = ReplicaId::new(endpoint, revision, TEMPLATES + serial);
    ReplicaSpec { replica, ..spec.clone() }.with_work(Work::Template { prepared: model() })
}

pub fn replica() -> ReplicaSpec {
    replica_of("plain", 1)
}

/// Sends a command over an open connection and takes the answer.
pub fn converse(mut connection: &UnixStream, command: &str) -> String {
    connection.write_all(command.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    answer(connection)
}

pub fn answer(mut connection: &UnixStream) -> String {
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = String::new();
    match connection.read_to_string(&mut text) {
        // The server died with the connection unread, or in between.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        read => drop(read.unwrap()),
    }
    text
}

pub fn call(socket: &Path, command: &str) -> String {
    converse(&UnixStream::connect(socket).unwrap(), command)
}

/// Sends a command that no worker survives.
pub fn call_fatally(socket: &Path, command: &str) {
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.write_all(command.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
}

/// All that was logged. The replica must have ended.
pub fn read_log(log: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(log).read_to_string(&mut text).unwrap();
    text
}
