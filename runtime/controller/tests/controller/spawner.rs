use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use dormouse_sandbox::{
    channel::{Channel, ChannelError},
    messages::{
        CreatePhases, Event, ExitCause, Fork, Listener, LoadPhases, Origin, PROTOCOL_VERSION, ReplicaId, ReplicaReport,
        ReplicaSpec, ReplicaState, Request, Work,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, watch},
};

use crate::replica::Replica;

/// What becomes of a replica that is created.
#[derive(Debug, Clone, Default)]
pub(crate) enum Start {
    #[default]
    Ready,
    /// It loads until [`Spawner::finish`].
    Hold,
    LoadFails(String),
    Dies(ExitCause),
}

/// The played spawner.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    run: PathBuf,
    state: Mutex<State>,
    to_tell: Notify,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Everything that was asked, in order.
    pub(crate) requests: Vec<Request>,
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    /// The most memory that living replicas ever had together.
    pub(crate) memory_peak: u64,
    starts: VecDeque<Start>,
    holds_freezes: bool,
    outbox: VecDeque<(Event, Option<OwnedFd>)>,
    is_gone: bool,
}

struct Socket(Channel<Event, Request>);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What every worker says of its loading.
pub(crate) const LOAD: LoadPhases = LoadPhases { runtime_us: 5, model_us: 6, session_us: 7 };

/// A bound that only a test that fails reaches; the clock jumps there at once.
const NEVER: Duration = Duration::from_secs(1_000_000);

impl Spawner {
    /// Begins to play over `socket`, with replicas that live already.
    pub(crate) fn start(run: PathBuf, socket: OwnedFd, living: Vec<(ReplicaSpec, ReplicaState)>) -> Self {
        let shared = Shared { run, state: Mutex::default(), to_tell: Notify::new(), changed: watch::Sender::new(()) };
        let spawner = Self { shared: Arc::new(shared) };
        #[allow(deprecated, reason = "its replacement is unsafe; this socket owns its descriptor")]
        let socket = AsyncFd::new(Socket(Channel::new(socket))).unwrap();
        tokio::spawn(spawner.clone().play(socket, living));
        spawner
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.shared.state.lock().unwrap())
    }

    /// Waits until the condition holds and returns what it found.
    pub(crate) async fn wait_for<T>(&self, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            loop {
                if let Some(found) = self.look(&mut found) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(NEVER, wait).await.expect("what was awaited of the controller did not come")
    }

    /// What becomes of the next creations, before they are ready at once again.
    pub(crate) fn script(&self, starts: impl IntoIterator<Item = Start>) {
        self.look(|state| state.starts.extend(starts));
    }

    /// From now on a freeze is answered by the test.
    pub(crate) fn hold_answers_to_freezes(&self) {
        self.look(|state| state.holds_freezes = true);
    }

    /// Lets a held replica become ready.
    pub(crate) fn finish(&self, replica: &ReplicaId) {
        self.look(|state| state.replicas.get_mut(replica).unwrap().state = ReplicaState::Ready);
        self.tell(Event::Ready { replica: replica.clone(), load: LOAD });
    }

    /// Ends a replica that was not told to.
    pub(crate) fn kill(&self, replica: &ReplicaId, cause: ExitCause) {
        self.look(|state| state.replicas.remove(replica).expect("only what lives can die"));
        self.tell(Event::Exited { replica: replica.clone(), cause });
        self.tell(Event::Removed { replica: replica.clone() });
        for fork in self.forks_of(replica) {
            self.kill(&fork, ExitCause::TemplateEnded);
        }
    }

    fn forks_of(&self, template: &ReplicaId) -> Vec<ReplicaId> {
        let of = |it: &Replica| matches!(it.spec.work(), Some(Work::Fork { template: its }) if its == template);
        self.look(|state| state.replicas.values().filter(|it| of(it)).map(|it| it.spec.replica.clone()).collect())
    }

    pub(crate) fn tell(&self, event: Event) {
        self.tell_with(event, None);
    }

    fn tell_with(&self, event: Event, descriptor: Option<OwnedFd>) {
        self.look(|state| state.outbox.push_back((event, descriptor)));
        self.shared.to_tell.notify_one();
    }

    /// Closes the channel, as by death.
    pub(crate) fn go(&self) {
        self.look(|state| state.is_gone = true);
        self.shared.to_tell.notify_one();
    }

    /// The replicas that were created, probes and all.
    pub(crate) fn created(&self) -> Vec<ReplicaSpec> {
        self.look(|state| {
            let spec = |request: &Request| match request {
                Request::Create(spec) => Some((**spec).clone()),
                _ => None,
            };
            state.requests.iter().filter_map(spec).collect()
        })
    }

    async fn play(self, mut socket: AsyncFd<Socket>, living: Vec<(ReplicaSpec, ReplicaState)>) {
        self.live(living);
        loop {
            if self.look(|state| state.is_gone) {
                return;
            }
            while let Some((event, descriptor)) = self.look(|state| state.outbox.pop_front()) {
                let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
                match socket.get_ref().0.try_send(&event, &descriptors) {
                    Ok(()) | Err(ChannelError::Closed) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            tokio::select! {
                () = self.shared.to_tell.notified() => {}
                ready = socket.ready_mut(Interest::READABLE) => {
                    let mut ready = ready.unwrap();
                    match ready.get_inner_mut().0.try_receive() {
                        Ok(Some((request, _))) => self.take(request),
                        Ok(None) => ready.clear_ready(),
                        Err(_) => return,
                    }
                }
            }
            self.shared.changed.send_replace(());
        }
    }

    fn live(&self, living: Vec<(ReplicaSpec, ReplicaState)>) {
        for (spec, found) in living {
            let (_, mut replica) = self.make(spec);
            replica.state = found;
            self.look(|state| state.replicas.insert(replica.spec.replica.clone(), replica));
        }
    }

    fn take(&self, request: Request) {
        self.look(|state| state.requests.push(request.clone()));
        match request {
            Request::Hello { .. } => self.welcome(),
            Request::Create(spec) => self.create(*spec),
            Request::Freeze { .. } if self.look(|state| state.holds_freezes) => {}
            Request::Freeze { replica } => self.set(&replica, ReplicaState::Frozen),
            Request::Thaw { replica } => self.set(&replica, ReplicaState::Ready),
            Request::Stop { replica, .. } => self.stop(&replica),
            Request::Socket { .. }
            | Request::Forget { .. }
            | Request::UnpackLayer { .. }
            | Request::RemoveLayer { .. }
            | Request::Drained => {}
        }
    }

    fn welcome(&self) {
        let (version, instance, settings) = (PROTOCOL_VERSION, "test".to_owned(), "[gateway]".to_owned());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let welcome = Event::Welcome {
            version,
            instance,
            settings,
            listeners: vec![Listener::Gateway],
            image_ids: dormouse_sandbox::messages::ImageIdsMode::Distinct,
        };
        self.tell_with(welcome, Some(listener.into()));
        let reports: Vec<_> = self.look(|state| {
            let report = |it: &Replica| ReplicaReport {
                spec: it.spec.clone(),
                state: it.state,
                started_at_ms: 42,
                premade: None,
            };
            state.replicas.values().map(report).collect()
        });
        for report in reports {
            let (reading, _) = std::io::pipe().unwrap();
            self.tell_with(Event::Adopt(Box::new(report)), Some(reading.into()));
        }
        self.tell(Event::Synced);
    }

    fn make(&self, spec: ReplicaSpec) -> (OwnedFd, Replica) {
        let (reading, writing) = std::io::pipe().unwrap();
        (reading.into(), Replica::start(spec, &self.shared.run, writing))
    }

    fn create(&self, spec: ReplicaSpec) {
        let (log, replica) = self.make(spec);
        let id = replica.spec.replica.clone();
        let start = self.look(|state| {
            state.replicas.insert(id.clone(), replica);
            let memory = state.replicas.values().map(|it| it.spec.limits.memory.get()).sum();
            state.memory_peak = state.memory_peak.max(memory);
            state.starts.pop_front().unwrap_or_default()
        });
        let origin = self.look(|state| origin(state, &id));
        self.tell_with(Event::Created { replica: id.clone(), started_at_ms: 42, origin }, Some(log));
        match start {
            Start::Ready => self.finish(&id),
            Start::Hold => {}
            Start::LoadFails(reason) => {
                self.tell(Event::LoadFailed { replica: id.clone(), reason });
                self.kill(&id, ExitCause::Code { code: 1 });
            }
            Start::Dies(cause) => self.kill(&id, cause),
        }
    }

    fn set(&self, id: &ReplicaId, to: ReplicaState) {
        let is_there = self.look(|state| state.replicas.get_mut(id).map(|replica| replica.state = to).is_some());
        let replica = id.clone();
        self.tell(match to {
            _ if !is_there => Event::Refused { replica: Some(replica), reason: "it is not there".to_owned() },
            ReplicaState::Frozen => Event::Frozen { replica },
            _ => Event::Thawed { replica, cause: None },
        });
    }

    fn stop(&self, id: &ReplicaId) {
        if self.look(|state| state.replicas.contains_key(id)) {
            self.kill(id, ExitCause::Stopped);
        }
    }
}

/// A fork is of a template that is ready, and differs from it in nothing else.
fn origin(state: &State, id: &ReplicaId) -> Origin {
    let spec = &state.replicas[id].spec;
    let Some(Work::Fork { template }) = spec.work() else {
        return Origin::Created(CreatePhases { fork_us: 1, cgroup_us: 2, container_us: 3, release_us: 4 });
    };
    let template = &state.replicas[template];
    assert_eq!(template.state, ReplicaState::Ready);
    let (replica, work) = (template.spec.replica.clone(), template.spec.work().unwrap().clone());
    assert!(matches!(work, Work::Template { .. }));
    assert_eq!(ReplicaSpec { replica, ..spec.clone() }.with_work(work), template.spec);
    Origin::Forked(Fork { fork: 1, order_us: 300 })
}
