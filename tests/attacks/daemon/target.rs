//! The daemon under attack, and whether it still serves others.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::{Daemon, Endpoint, Home, Request, paths};
use serde_json::json;

/// How long somebody else waits for an answer, many times what it takes. Without its defence every
/// attack that keeps others out does so for longer.
const OTHERS_WAIT: Duration = Duration::from_secs(15);

/// What the node process may grow by under any attack of this suite.
const NODE_GROWTH_MAX: u64 = 64 << 20;

/// The largest body that the daemon takes here.
pub(crate) const BODY_BYTES_MAX: usize = 32 << 20;

/// A daemon of this ground that waits for its clients no longer than it has to.
pub(crate) fn home(ground: &Ground) -> Home {
    let home = Home::of(ground.program.to_str().unwrap())
        .set("gateway", "client_wait", "\"1s\"")
        .set("gateway", "body_bytes_max", &BODY_BYTES_MAX.to_string())
        .endpoint("max_replicas", "1");
    ground.environment.iter().fold(home, |home, (name, value)| home.variable(name, value))
}

/// An endpoint whose one replica gives back the matrix it gets.
pub(crate) fn identity(daemon: &Daemon) -> Endpoint<'_> {
    let endpoint = daemon.deploy_with("m", &paths::fixture("identity_matrix.onnx"), &[]);
    let _ = daemon.send(&good(&endpoint)).ok();
    endpoint
}

/// A request that anybody may make of [`identity`].
pub(crate) fn good(endpoint: &Endpoint<'_>) -> Request {
    let input = json!({ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1, 2] });
    Request::infer(&endpoint.name, &json!({ "inputs": [input] }))
}

/// Whether somebody else gets an answer while the attack lasts.
pub(crate) fn is_answered(address: SocketAddr, request: &Request) -> bool {
    let answered = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(OTHERS_WAIT))?;
        stream.write_all(&request.bytes())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    answered().is_ok_and(|answer| &answer == b"HTTP/1.1 200")
}

/// More than one of the others asks, since the first may come before the attack has taken hold.
const OTHERS: usize = 5;

/// How it ended, by whether others are answered.
pub(crate) fn by_others(address: SocketAddr, request: &Request, attack: &str) -> Outcome {
    if (0..OTHERS).all(|_| is_answered(address, request)) {
        Outcome::Stopped(format!("others are answered beside {attack}"))
    } else {
        Outcome::GotThrough(format!("nobody else is answered beside {attack}"))
    }
}

/// What an attack is looked at with from outside: the memory of the node process.
pub(crate) struct Memory {
    pid: i32,
    before: u64,
}

impl Memory {
    pub(crate) fn of_node(daemon: &Daemon) -> Self {
        let pid = daemon.node_pid();
        // The peak begins anew here.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        Self { pid, before: peak(pid) }
    }

    /// By how much it grew at most since then, in MiB.
    pub(crate) fn grown_mib(&self) -> u64 {
        (peak(self.pid).saturating_sub(self.before)) >> 20
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.grown_mib() <= NODE_GROWTH_MAX >> 20
    }
}

fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap() << 10
}

/// Requests that have to be refused, each with its status, and after which the same replica answers.
pub(crate) fn each_is_refused(endpoint: &Endpoint<'_>, good: &Request, bad: &[(&str, Request, u16)]) -> Outcome {
    let daemon = endpoint.daemon;
    let _ = daemon.send(good).ok();
    let (pids, memory) = (endpoint.processes(), Memory::of_node(daemon));
    for (what, request, status) in bad {
        let sent = dormouse_tests::Connection::to(daemon.address()).try_send(request);
        match sent {
            Ok(answer) if answer.status == *status && answer.body.len() < 16 << 10 => {}
            Ok(answer) => {
                return Outcome::GotThrough(format!("{what}: {} and {} bytes", answer.status, answer.body.len()));
            }
            Err(error) => return Outcome::GotThrough(format!("{what}: {error}")),
        }
        if !is_answered(daemon.address(), good) || endpoint.processes() != pids {
            return Outcome::GotThrough(format!("{what}: the replica is another one"));
        }
    }
    if !memory.is_bounded() {
        return Outcome::GotThrough(format!("the node grew by {} MiB", memory.grown_mib()));
    }
    let statuses: std::collections::BTreeSet<u16> = bad.iter().map(|(_, _, status)| *status).collect();
    Outcome::Stopped(format!("{} requests got {statuses:?}, the same replica goes on", bad.len()))
}
