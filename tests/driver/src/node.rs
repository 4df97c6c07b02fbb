//! The node: a process that hands its channel to the driver, and the driver's end of it.

use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use dormouse_sandbox::{
    channel::{Channel, ChannelError},
    messages::{
        Event, ExitCause, ImageIdsMode, Origin, PROTOCOL_VERSION, ReplicaId, ReplicaReport, ReplicaSpec, Request, Work,
    },
};
use dormouse_spec::Digest;
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process::{Pid, Signal, kill_process},
};

use crate::{
    daemon,
    machine::{self, DEADLINE, is_readable, until},
    script::{self, LIMITS},
};

/// The node process: standard input is its channel, standard output the driver. It lives until the
/// spawner closes the channel or kills it.
pub fn main() -> ExitCode {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let channel = [stdin.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&channel)));
    let pid = std::process::id().to_ne_bytes();
    rustix::net::sendmsg(&stdout, &[IoSlice::new(&pid)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    // What arrives is the driver's to read; only the end is looked for.
    let mut ends = [PollFd::new(&stdin, PollFlags::empty())];
    while poll(&mut ends, None).is_err() {}
    ExitCode::SUCCESS
}

/// A replica that runs.
#[derive(Debug)]
pub struct Started {
    pub log: OwnedFd,
    pub started_at_ms: u64,
    pub origin: Origin,
}

/// The driver's end of a node's channel. The node process holds the same end.
#[derive(Debug)]
pub struct Node {
    pid: Pid,
    channel: Channel<Request, Event>,
    /// Told, and not asked for yet.
    events: VecDeque<(Event, Vec<OwnedFd>)>,
    pub adopted: Vec<(ReplicaReport, OwnedFd)>,
    pub listeners: Vec<OwnedFd>,
    pub slow_turns: Vec<u64>,
    blanks_ready: u32,
    /// Known from the welcome on.
    pub image_ids: Option<ImageIdsMode>,
    instance: String,
    run: PathBuf,
}

impl Node {
    /// Takes over the channel of a node process that has just started.
    pub fn receive(nodes: &OwnedFd) -> Self {
        let mut bytes = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        rustix::net::recvmsg(nodes, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .unwrap();
        let channel = ancillary
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            })
            .expect("a node hands over its channel");
        Self {
            pid: Pid::from_raw(i32::from_ne_bytes(bytes)).unwrap(),
            channel: Channel::new(channel),
            events: VecDeque::new(),
            adopted: Vec::new(),
            listeners: Vec::new(),
            slow_turns: Vec::new(),
            blanks_ready: 0,
            image_ids: None,
            instance: String::new(),
            run: PathBuf::new(),
        }
    }

    /// Says hello and hears the welcome, whom to adopt, and that this was all.
    pub fn greet(&mut self, run: &Path) {
        self.ask(&Request::Hello { version: PROTOCOL_VERSION });
        let (Event::Welcome { version, instance, settings, listeners, image_ids }, descriptors) = self.hear() else {
            panic!("the first event is a welcome")
        };
        assert_eq!((version, settings.as_str()), (PROTOCOL_VERSION, "as the composition root wrote them"));
        assert_eq!(listeners.len(), descriptors.len());
        (self.instance, self.listeners, self.run) = (instance, descriptors, run.to_owned());
        self.image_ids = Some(image_ids);
        loop {
            match self.hear() {
                (Event::Adopt(report), mut descriptors) => {
                    self.adopted.push((*report, descriptors.pop().expect("the log comes with it")));
                }
                (Event::Synced, _) => return,
                (other, _) => panic!("{other:?} between welcome and synced"),
            }
        }
    }

    pub fn instance(&self) -> &str {
        &self.instance
    }

    fn group(&self) -> String {
        format!("dormouse-{}", self.instance)
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    pub fn ask(&self, request: &Request) {
        self.channel.try_send(request, &[]).unwrap();
    }

    /// Asks without waiting for room, as a node that has more to ask than the spawner takes.
    pub fn try_ask(&self, request: &Request) -> Result<(), ChannelError> {
        self.channel.try_send(request, &[])
    }

    /// Keeps all that was told so far.
    pub fn take_in(&mut self) {
        while let Some(told) = self.channel.try_receive().unwrap() {
            if let Some(told) = self.note(told) {
                self.events.push_back(told);
            }
        }
    }

    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// A datagram that need not be in the protocol.
    pub fn send_bytes(&self, bytes: &[u8]) {
        rustix::net::send(self.channel.as_fd(), bytes, SendFlags::NOSIGNAL).unwrap();
    }

    /// Waits until the spawner closes this channel, which it does when it gives the node up.
    pub fn wait_until_closed(&mut self) {
        until("the spawner closes the channel", || self.is_closed());
    }

    /// Whether the spawner closed this channel. What it told before is heard and dropped.
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.channel.try_receive() {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(ChannelError::Closed) => return true,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Takes in what may be told at any time: how long turns were, and how full the pool is.
    fn note(&mut self, told: (Event, Vec<OwnedFd>)) -> Option<(Event, Vec<OwnedFd>)> {
        match told {
            (Event::SlowTurn { micros }, _) => self.slow_turns.push(micros),
            (Event::Blanks { ready }, _) => self.blanks_ready = ready,
            told => return Some(told),
        }
        None
    }

    /// The next event of any other kind.
    fn hear(&mut self) -> (Event, Vec<OwnedFd>) {
        let begun = Instant::now();
        loop {
            match self.channel.try_receive().unwrap() {
                Some(told) => {
                    if let Some(told) = self.note(told) {
                        return told;
                    }
                }
                None => {
                    assert!(is_readable(self.channel.as_fd()) || begun.elapsed() < DEADLINE, "the spawner is silent");
                }
            }
        }
    }

    /// Waits until at least so many blanks can be claimed.
    pub fn wait_for_blanks(&mut self, wanted: u32) {
        until("the pool is filled", || {
            self.take_in();
            self.blanks_ready >= wanted
        });
    }

    /// The next event of one replica, in the order in which they were told; others are kept.
    pub fn of(&mut self, replica: &ReplicaId) -> Event {
        self.of_with_descriptors(replica).0
    }

    pub(crate) fn of_with_descriptors(&mut self, replica: &ReplicaId) -> (Event, Vec<OwnedFd>) {
        let is_its = |(event, _): &(Event, Vec<OwnedFd>)| subject(event) == Some(replica);
        loop {
            if let Some(at) = self.events.iter().position(is_its) {
                let told = self.events.remove(at).unwrap();
                if let (Event::Created { origin, .. }, _) = &told {
                    machine::note_origin(&self.group(), replica, *origin);
                }
                return told;
            }
            let told = self.hear();
            self.events.push_back(told);
        }
    }

    /// The next event of one layer.
    pub fn of_layer(&mut self, layer: &Digest) -> Event {
        loop {
            if let Some(at) = self.events.iter().position(|(event, _)| layer_of(event) == Some(layer)) {
                return self.events.remove(at).unwrap().0;
            }
            let told = self.hear();
            self.events.push_back(told);
        }
    }

    /// The next event that is of no replica.
    pub fn of_none(&mut self) -> Event {
        loop {
            if let Some(at) =
                self.events.iter().position(|(event, _)| subject(event).is_none() && layer_of(event).is_none())
            {
                return self.events.remove(at).unwrap().0;
            }
            let told = self.hear();
            self.events.push_back(told);
        }
    }

    /// Asks for a replica. Where the suite runs with a pool, there is a blank that it can be made of;
    /// where it runs with templates, one that it is forked of.
    pub fn create(&mut self, spec: &ReplicaSpec) {
        if daemon::pool_size() > 0 {
            self.wait_for_blanks(1);
        }
        let spec = if daemon::is_forked() { self.forked(spec) } else { spec.clone() };
        self.ask(&Request::Create(Box::new(spec)));
    }

    /// The same replica as a fork of a template that is started for it, unless it does not serve or there
    /// can be no template.
    fn forked(&mut self, spec: &ReplicaSpec) -> ReplicaSpec {
        let Some(Work::Serve { .. }) = spec.work() else { return spec.clone() };
        let template = script::template_of(spec);
        self.ask(&Request::Create(Box::new(template.clone())));
        let id = template.replica;
        let forked = spec.clone().with_work(Work::Fork { template: id.clone() });
        if let (Event::Created { .. }, _) = self.of_with_descriptors(&id) {
            assert!(matches!(self.of(&id), Event::Ready { .. }));
        }
        forked
    }

    /// What is told of a replica that was created.
    pub fn created(&mut self, replica: &ReplicaId) -> Started {
        match self.of_with_descriptors(replica) {
            (Event::Created { started_at_ms, origin, .. }, mut descriptors) => {
                Started { log: descriptors.pop().expect("the log comes with it"), started_at_ms, origin }
            }
            (other, _) => panic!("{other:?} and not created"),
        }
    }

    /// Creates a replica and waits until it serves. Where the suite runs with a pool, it was a blank.
    pub fn start(&mut self, spec: &ReplicaSpec) -> Started {
        self.create(spec);
        let started = self.created(&spec.replica);
        let is_to_be_forked = match spec.work() {
            Some(Work::Serve { .. }) => daemon::is_forked(),
            Some(Work::Fork { .. }) => true,
            Some(Work::Template { .. } | Work::Prepare {}) | None => false,
        };
        assert_eq!(matches!(started.origin, Origin::Forked(_)), is_to_be_forked);
        let is_claimed = matches!(started.origin, Origin::Claimed(_));
        let suits = spec.limits.memory >= daemon::BLANK_MEMORY && spec.limits.tmp == LIMITS.tmp;
        assert!(is_claimed || daemon::pool_size() == 0 || !suits, "{:?}", started.origin);
        assert!(matches!(self.of(&spec.replica), Event::Ready { replica, .. } if replica == spec.replica));
        started
    }

    pub fn freeze(&mut self, replica: &ReplicaId) {
        self.ask(&Request::Freeze { replica: replica.clone() });
        assert_eq!(self.of(replica), Event::Frozen { replica: replica.clone() });
    }

    pub fn thaw(&mut self, replica: &ReplicaId) {
        self.ask(&Request::Thaw { replica: replica.clone() });
        assert_eq!(self.of(replica), Event::Thawed { replica: replica.clone(), cause: None });
    }

    pub fn stop(&self, replica: &ReplicaId, grace_ms: u32) {
        self.ask(&Request::Stop { replica: replica.clone(), grace_ms });
    }

    /// The cause, once nothing of the replica is left.
    pub fn exit_cause(&mut self, replica: &ReplicaId) -> ExitCause {
        let Event::Exited { cause, .. } = self.of(replica) else { panic!("the replica exits") };
        assert_eq!(self.of(replica), Event::Removed { replica: replica.clone() });
        cause
    }

    /// What a worker answers.
    pub fn call(&self, replica: &ReplicaId, command: &str) -> String {
        crate::script::call(&self.socket(replica), command)
    }

    pub fn socket(&self, replica: &ReplicaId) -> PathBuf {
        self.run.join("sockets").join(format!("{replica}.sock"))
    }

    /// Hears that the daemon is to end, and ends.
    pub fn drain(&mut self) {
        assert_eq!(self.of_none(), Event::Drain);
        self.ask(&Request::Drained);
        self.signal(Signal::TERM);
    }
}

fn layer_of(event: &Event) -> Option<&Digest> {
    match event {
        Event::LayerUnpacked { diff_id, .. } | Event::LayerFailed { diff_id, .. } | Event::LayerRemoved { diff_id } => {
            Some(diff_id)
        }
        _ => None,
    }
}

fn subject(event: &Event) -> Option<&ReplicaId> {
    match event {
        Event::Created { replica, .. }
        | Event::Ready { replica, .. }
        | Event::Socket { replica, .. }
        | Event::NoSocket { replica, .. }
        | Event::LoadFailed { replica, .. }
        | Event::Frozen { replica }
        | Event::Thawed { replica, .. }
        | Event::Exited { replica, .. }
        | Event::Removed { replica } => Some(replica),
        Event::Refused { replica, .. } => replica.as_ref(),
        Event::Welcome { .. }
        | Event::Adopt(_)
        | Event::Synced
        | Event::LayerUnpacked { .. }
        | Event::LayerFailed { .. }
        | Event::LayerRemoved { .. }
        | Event::Blanks { .. }
        | Event::SlowTurn { .. }
        | Event::Drain => None,
    }
}
