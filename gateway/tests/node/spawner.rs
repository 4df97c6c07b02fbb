//! A spawner that makes no container: replicas are threads of the test.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use dormouse_gateway::config::NodeSettings;
use dormouse_sandbox::{
    channel::{self, Channel},
    messages::{CreatePhases, Event, ExitCause, Listener, LoadPhases, Origin, PROTOCOL_VERSION, ReplicaId, Request},
};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::{sync::watch, time::timeout};

use crate::harness::PATIENCE;

/// A body that kills the replica it reaches.
pub(crate) const DIE: &str = "die";
/// A body that is answered once the test lets go.
pub(crate) const WAIT: &str = "wait";

pub(crate) struct Spawner {
    shared: Arc<Shared>,
}

struct Shared {
    events: Channel<Event, Request>,
    socket: OwnedFd,
    settings: String,
    listeners: [OwnedFd; 2],
    sockets: PathBuf,
    created: AtomicUsize,
    refusal: Mutex<Option<String>>,
    waiting: watch::Sender<bool>,
    let_go: watch::Sender<bool>,
    drained: watch::Sender<bool>,
}

impl Spawner {
    pub(crate) fn start(settings: &NodeSettings, clients: &TcpListener, operators: &UnixListener) -> (Self, OwnedFd) {
        let (theirs, ours) = channel::pair().unwrap();
        let shared = Arc::new(Shared {
            events: Channel::new(ours.try_clone().unwrap()),
            socket: ours.try_clone().unwrap(),
            settings: serde_json::to_string(settings).unwrap(),
            listeners: [clients.as_fd(), operators.as_fd()].map(|listener| listener.try_clone_to_owned().unwrap()),
            sockets: settings.run.join("sockets"),
            created: AtomicUsize::new(0),
            refusal: Mutex::default(),
            waiting: watch::Sender::new(false),
            let_go: watch::Sender::new(false),
            drained: watch::Sender::new(false),
        });
        let spawner = Arc::clone(&shared);
        std::thread::spawn(move || spawner.run(Channel::new(ours)));
        (Self { shared }, theirs)
    }

    pub(crate) fn created(&self) -> usize {
        self.shared.created.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse_models(&self, reason: &str) {
        *self.shared.refusal.lock().unwrap() = Some(reason.to_owned());
    }

    pub(crate) fn drain(&self) {
        self.shared.tell(&Event::Drain);
    }

    pub(crate) fn hang_up(&self) {
        rustix::net::shutdown(&self.shared.socket, rustix::net::Shutdown::Both).unwrap();
    }

    pub(crate) async fn wait_for_request(&self) {
        until(&self.shared.waiting).await;
    }

    pub(crate) fn let_go(&self) {
        self.shared.let_go.send_replace(true);
    }

    pub(crate) async fn wait_for_drained(&self) {
        until(&self.shared.drained).await;
    }
}

async fn until(condition: &watch::Sender<bool>) {
    timeout(PATIENCE, condition.subscribe().wait_for(|is| *is)).await.unwrap().unwrap();
}

impl Shared {
    fn run(self: Arc<Self>, mut requests: Channel<Event, Request>) {
        loop {
            match requests.try_receive() {
                Ok(Some((request, _))) => self.carry_out(request),
                Ok(None) => drop(poll(&mut [PollFd::new(&requests, PollFlags::IN)], None).unwrap()),
                // The node is gone, or was hung up on.
                Err(_) => return,
            }
        }
    }

    fn carry_out(self: &Arc<Self>, request: Request) {
        match request {
            Request::Hello { .. } => self.welcome(),
            Request::Create(spec) => self.create(spec.replica),
            Request::Freeze { replica } => self.tell(&Event::Frozen { replica }),
            Request::Thaw { replica } => self.tell(&Event::Thawed { replica, cause: None }),
            Request::Stop { replica, .. } => self.end(replica, ExitCause::Stopped),
            Request::Socket { .. }
            | Request::Forget { .. }
            | Request::UnpackLayer { .. }
            | Request::RemoveLayer { .. } => {}
            Request::Drained => drop(self.drained.send_replace(true)),
        }
    }

    fn welcome(&self) {
        let listeners = vec![Listener::Gateway, Listener::Admin];
        let (version, instance) = (PROTOCOL_VERSION, "test".to_owned());
        let welcome = Event::Welcome {
            version,
            instance,
            settings: self.settings.clone(),
            listeners,
            image_ids: dormouse_sandbox::messages::ImageIdsMode::Distinct,
        };
        self.events.try_send(&welcome, &self.listeners.each_ref().map(AsFd::as_fd)).unwrap();
        self.tell(&Event::Synced);
    }

    fn create(self: &Arc<Self>, replica: ReplicaId) {
        self.created.fetch_add(1, Ordering::SeqCst);
        let listener = UnixListener::bind(self.socket_of(&replica)).unwrap();
        let (log, _) = io::pipe().unwrap();
        let origin = Origin::Created(CreatePhases::default());
        let created = Event::Created { replica: replica.clone(), started_at_ms: 1, origin };
        self.events.try_send(&created, &[log.as_fd()]).unwrap();
        if let Some(reason) = self.refusal.lock().unwrap().clone() {
            self.tell(&Event::LoadFailed { replica: replica.clone(), reason });
            return self.end(replica, ExitCause::Code { code: 1 });
        }
        self.tell(&Event::Ready { replica: replica.clone(), load: LoadPhases::default() });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, replica) = (Arc::clone(&shared), replica.clone());
                std::thread::spawn(move || shared.serve(&replica, stream));
            }
        });
    }

    fn end(&self, replica: ReplicaId, cause: ExitCause) {
        // A replica may be told to end that has ended.
        let _ = std::fs::remove_file(self.socket_of(&replica));
        self.tell(&Event::Exited { replica: replica.clone(), cause });
        self.tell(&Event::Removed { replica });
    }

    /// One connection to a replica, until the node closes it.
    fn serve(&self, replica: &ReplicaId, mut stream: UnixStream) {
        while let Some((head, body)) = read_request(&mut stream) {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let answer = if head.starts_with("GET ") {
                r#"{"name":"worker","versions":["9"],"platform":"onnx_onnxv1","inputs":[],"outputs":[]}"#.to_owned()
            } else {
                format!(r#"{{"path":"{path}","body_bytes":{}}}"#, body.len())
            };
            if body == DIE {
                return self.end(replica.clone(), ExitCause::OutOfMemory { limit_bytes: 1 << 20 });
            }
            if body == WAIT {
                self.waiting.send_replace(true);
                let mut let_go = self.let_go.subscribe();
                tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap()
                    .block_on(let_go.wait_for(|let_go| *let_go))
                    .map(drop)
                    .unwrap();
            }
            let length = answer.len();
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
            );
            if stream.write_all(response.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn socket_of(&self, replica: &ReplicaId) -> PathBuf {
        self.sockets.join(format!("{replica}.sock"))
    }

    fn tell(&self, event: &Event) {
        // A node that was hung up on, or has ended, is told nothing.
        let _ = self.events.try_send(event, &[]);
    }
}

/// The head and the body of the next request, or `None` where the connection ended.
fn read_request(stream: &mut UnixStream) -> Option<(String, String)> {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let declared = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= declared.map_or(0, |length| length.parse().unwrap()) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(bytes) => received.extend_from_slice(&chunk[..bytes]),
        }
    }
}
