//! The scripts, and the daemon they run against.

use std::{
    io::Read,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use dormouse_sandbox::{
    channel::Channel,
    messages::{Event, PROTOCOL_VERSION, ReplicaId, ReplicaSpec, Request},
    spawner::{self, SpawnerSettings},
};
use dormouse_spec::{Bytes, Digest, Limits, MilliCpu};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub fn run_all() -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let model = data.join("models").join(digest().directory_name());
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("model.onnx"), b"not a model").unwrap();
    let settings = SpawnerSettings {
        data,
        run: directory.path().join("run"),
        listen: "127.0.0.1:0".parse().unwrap(),
        node_user: "nobody".to_owned(),
        admin_group: "root".to_owned(),
        uid_base: 1_879_048_192,
        uid_count: 65_536,
        onnxruntime: std::env::var_os("DORMOUSE_ONNXRUNTIME").expect("DORMOUSE_ONNXRUNTIME").into(),
        node_settings: directory.path().join("run").to_string_lossy().into_owned(),
        drain_deadline: Duration::from_secs(10),
        ephemeral: true,
        companion: None,
    };
    spawner::run(settings).unwrap();
    ExitCode::SUCCESS
}

fn digest() -> Digest {
    Digest::from_sha256([7; 32])
}

struct Node {
    channel: Channel<Request, Event>,
    log: Option<std::os::fd::OwnedFd>,
}

impl Node {
    fn ask(&self, request: Request) {
        self.channel.try_send(&request, &[]).unwrap();
    }

    fn hear(&mut self) -> Event {
        loop {
            if let Some((event, descriptors)) = self.channel.try_receive().unwrap() {
                eprintln!("{event:?}");
                if matches!(event, Event::Created { .. }) {
                    self.log = descriptors.into_iter().next();
                }
                if matches!(event, Event::Exited { .. }) {
                    if let Some(log) = self.log.take() {
                        let mut t = [0; 2000];
                        let n = rustix::io::read(&log, &mut t).unwrap();
                        eprintln!("LOG {}", String::from_utf8_lossy(&t[..n]));
                    }
                }
                return event;
            }
            let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN)], Some(&timeout));
            assert_eq!(ready, Ok(1), "the spawner tells nothing");
        }
    }
}

pub fn node() -> ExitCode {
    let mut node = Node { channel: Channel::new(rustix::io::dup(std::io::stdin()).unwrap()), log: None };
    node.ask(Request::Hello { version: PROTOCOL_VERSION });
    let Event::Welcome { settings, .. } = node.hear() else { panic!("no welcome") };
    assert_eq!(node.hear(), Event::Synced);
    let replica = ReplicaId::new(&"demo".parse().unwrap(), 1, 1);
    node.ask(Request::Create(Box::new(ReplicaSpec {
        replica: replica.clone(),
        endpoint: "demo".parse().unwrap(),
        model: digest(),
        revision: 1,
        limits: Limits {
            cpu: MilliCpu::from_milli(1000),
            memory: Bytes::from_mebibytes(128),
            pids: 64,
            tmp: Bytes::from_mebibytes(1),
        },
        intra_op_threads: 1,
        concurrency: 4,
        body_bytes_max: 1 << 20,
    })));
    loop {
        match node.hear() {
            Event::Ready { .. } => break,
            Event::Exited { .. } => return ExitCode::FAILURE,
            _ => {}
        }
    }
    let socket = Path::new(&settings).join("sockets").join(format!("{replica}.sock"));
    let mut text = String::new();
    UnixStream::connect(&socket).unwrap().read_to_string(&mut text).unwrap();
    eprintln!("{text}");
    for _ in 0..3 {
        node.ask(Request::Freeze { replica: replica.clone() });
        node.hear();
        node.ask(Request::Thaw { replica: replica.clone() });
        node.hear();
    }
    node.ask(Request::Freeze { replica: replica.clone() });
    node.hear();
    node.ask(Request::Stop { replica, grace_ms: 0 });
    node.hear();
    node.hear();
    node.ask(Request::Drained);
    ExitCode::SUCCESS
}
