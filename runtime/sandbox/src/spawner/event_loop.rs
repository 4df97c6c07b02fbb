//! The spawner's loop: one poll, then whatever became ready, each in a step that does not wait.

mod ahead;
mod blanks;
mod ending;
mod layers;
mod reaping;
mod requests;
mod templates;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use dormouse_spec::EndpointName;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::kill,
    unistd::Pid,
};
use rustix::process::WaitStatus;

pub(crate) use self::reaping::how_ended;
use self::{ahead::Ahead, ending::Ending};
use super::{
    SpawnerError, SpawnerSettings, Stores,
    host_network::HostNetwork,
    layers::{Layers, Task},
    listeners::Listeners,
    node::{Node, NodeError, NodeUser},
    pool::{BlankId, Pool},
    replica::Replica,
    sandbox::{Freeze, Sandbox},
    signals::{Signals, Told},
    word::Said,
};
use crate::{
    cgroup::{CgroupError, InstanceGroup, ReplicaGroup},
    channel::ChannelError,
    creation::Report,
    error_chain,
    instance::Instance,
    messages::{Event, Origin, ReplicaId, Request},
    rootfs::Rootfs,
    seccomp::Profiles,
    uids::{ImageIds, ImageRanges, RangeLease, UidRecord},
    unpack::Asked,
};

/// Between two looks at a group that is freezing or short of memory: v1 tells nobody when it is done.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Requests taken in one turn, and how long it may have taken before the next one is: a node cannot
/// keep the loop from everything else.
const REQUESTS_A_TURN: usize = 64;
const REQUESTS_A_TURN_TAKE_MAX: Duration = Duration::from_millis(4);
/// Children of which it is not known yet whose they were. A creation has up to three; others are what
/// a node process left behind.
const EARLY_MAX: usize = 4_096;
/// How soon a node process that keeps ending is started again.
const NODE_RESTART_FIRST: Duration = Duration::from_millis(100);
const NODE_RESTART_MAX: Duration = Duration::from_secs(5);
/// A node that gives up this often, each time soon after its start, would go on doing so: what it
/// said is the reason, and nobody is helped by clients that wait.
const NODE_FAILURES_MAX: u32 = 5;
/// A node that lived this long is no longer one that keeps ending.
const NODE_IS_STABLE_AFTER: Duration = Duration::from_secs(10);
/// A node that has not said hello by then is stuck, and is replaced.
const NODE_HELLO_DEADLINE: Duration = Duration::from_secs(30);
/// A turn over this is told: wakes wait for the loop.
const TURN_SLOW: Duration = Duration::from_millis(1);
/// How long the loop pauses where the kernel has no memory to wait with.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);
/// The control group of node processes.
const NODE_GROUP: &str = "node";

/// What does not change while the daemon runs.
#[derive(Debug)]
pub(crate) struct Spawner<'a> {
    pub(crate) settings: SpawnerSettings,
    pub(crate) program: &'a Path,
    pub(crate) instance: &'a Instance,
    pub(crate) groups: &'a InstanceGroup,
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) seccomp: &'a Profiles,
    pub(crate) listeners: &'a Listeners,
    pub(crate) node_user: NodeUser,
    /// How many replicas this process can hold open at a time, dying ones included.
    pub(crate) replicas_max: usize,
    /// Models are opened beneath them.
    pub(crate) stores: Stores,
    /// As whose files layers are unpacked.
    pub(crate) image_ids: ImageIds,
    pub(crate) network: HostNetwork,
}

/// What does.
struct Loop<'a> {
    spawner: &'a Spawner<'a>,
    uids: UidRecord,
    image_ranges: ImageRanges,
    signals: Signals,
    replicas: BTreeMap<ReplicaId, Replica>,
    pool: Pool,
    layers: Layers,
    /// Uids of sandboxes that were blanks and could not be removed: nobody gets them until the next start.
    unremoved_uids: BTreeSet<u32>,
    /// Children that ended before their creation was reported.
    early: HashMap<Pid, WaitStatus>,
    /// Deleted endpoints whose uid is given back with their last replica.
    forgotten: BTreeSet<EndpointName>,
    /// Endpoints of which a replica could not be removed: their uids stay theirs until the next start.
    unremoved: BTreeSet<EndpointName>,
    /// Ids of images' processes that could not be removed.
    unremoved_ranges: Vec<Rc<RangeLease>>,
    node: Option<Node>,
    node_group: ReplicaGroup,
    node_started: Instant,
    node_restart_in: Duration,
    /// Nodes in a row that gave up by themselves, each soon after its start.
    node_failures: u32,
    restart_node_at: Option<Instant>,
    companion: Option<Pid>,
    companion_started: bool,
    ending: Ending,
    longest_turn: Duration,
    /// Servers that templates were told to fork.
    servers: u64,
    ahead: Ahead,
}

/// Whose sandbox it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Replica(ReplicaId),
    Blank(BlankId),
}

/// What a descriptor that became ready belongs to.
enum Source {
    Signals,
    Node,
    Creation(Whose),
    Control(Whose),
    MemoryAlarm(Whose),
    /// The end of a server that has no more to say.
    ServerGone(ReplicaId),
}

impl Spawner<'_> {
    /// Serves until told to end and nothing is left.
    pub(crate) fn run(
        &self,
        uids: UidRecord,
        image_ranges: ImageRanges,
        signals: Signals,
        layers: Layers,
    ) -> Result<(), SpawnerError> {
        let mut turn = Loop {
            spawner: self,
            pool: Pool::new(self.settings.pool, uids.range()),
            layers,
            unremoved_uids: BTreeSet::new(),
            uids,
            image_ranges,
            signals,
            replicas: BTreeMap::new(),
            early: HashMap::new(),
            forgotten: BTreeSet::new(),
            unremoved: BTreeSet::new(),
            unremoved_ranges: Vec::new(),
            node: None,
            node_group: self.groups.create_unlimited(NODE_GROUP)?,
            node_started: Instant::now(),
            node_restart_in: Duration::ZERO,
            node_failures: 0,
            restart_node_at: None,
            companion: None,
            companion_started: false,
            ending: Ending::default(),
            longest_turn: Duration::ZERO,
            servers: 0,
            ahead: Ahead::default(),
        };
        turn.forget_undesired();
        turn.start_node()?;
        turn.layers.clear_leftovers();
        let result = turn.until_done();
        turn.remove_node_group();
        result
    }
}

impl Loop<'_> {
    fn until_done(&mut self) -> Result<(), SpawnerError> {
        loop {
            let ready = self.wait()?;
            let begun = Instant::now();
            for source in ready {
                match source {
                    Source::Signals => self.on_signals()?,
                    Source::Node => self.on_node_ready(),
                    Source::Creation(whose) => self.on_creation_report(&whose),
                    Source::Control(whose) => self.on_worker_said(&whose),
                    Source::MemoryAlarm(whose) => self.on_memory_alarm(&whose),
                    Source::ServerGone(id) => self.on_server_gone(&id),
                }
            }
            self.on_time(Instant::now())?;
            self.note_turn(begun.elapsed());
            if self.is_done() {
                return self.ending.result();
            }
        }
    }

    /// Sleeps until something is ready or the next moment at which something is due.
    fn wait(&mut self) -> Result<Vec<Source>, SpawnerError> {
        let timeout = self.next_due().map_or(PollTimeout::NONE, |due| {
            let left = due.saturating_duration_since(Instant::now());
            // Rounded up: a turn too early would only look again.
            PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
        });
        let (sources, mut polled): (Vec<Source>, Vec<PollFd<'_>>) = self.watched().unzip();
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ENOMEM | Errno::EAGAIN) => {
                // The kernel is short of memory for a moment: whoever is the parent of all replicas
                // does not end for that, and does not spin either.
                std::thread::sleep(SHORTAGE_PAUSE);
                return Ok(Vec::new());
            }
            Err(error) => return Err(SpawnerError::Io { operation: "waiting for events", source: error.into() }),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        Ok(sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)).collect())
    }

    fn watched(&self) -> impl Iterator<Item = (Source, PollFd<'_>)> {
        let readable = |source, fd| (source, PollFd::new(fd, PollFlags::POLLIN));
        let node = self.node.iter().filter(|node| !node.is_condemned()).map(|node| {
            let unsent = if node.has_unsent() { PollFlags::POLLOUT } else { PollFlags::empty() };
            (Source::Node, PollFd::new(node.as_fd(), PollFlags::POLLIN | unsent))
        });
        let sandboxes = self.sandboxes().flat_map(move |(whose, sandbox)| {
            let creation = sandbox.creation_pipe().map(|fd| readable(Source::Creation(whose.clone()), fd));
            let control = sandbox.awaited_channel().map(|fd| readable(Source::Control(whose.clone()), fd));
            let alarm = sandbox.memory_alarm().map(|alarm| readable(Source::MemoryAlarm(whose), alarm.as_fd()));
            creation.into_iter().chain(control).chain(alarm)
        });
        let servers = self.replicas.iter().filter_map(|(id, replica)| {
            let lifeline = replica.sandbox.lifeline()?;
            // Its end is told whether it is asked for or not; what is said before is not.
            Some((Source::ServerGone(id.clone()), PollFd::new(lifeline, PollFlags::empty())))
        });
        std::iter::once(readable(Source::Signals, self.signals.as_fd())).chain(node).chain(sandboxes).chain(servers)
    }

    fn sandboxes(&self) -> impl Iterator<Item = (Whose, &Sandbox)> {
        let replicas = self.replicas.iter().map(|(id, replica)| (Whose::Replica(id.clone()), &replica.sandbox));
        replicas.chain(self.pool.blanks.iter().map(|(id, blank)| (Whose::Blank(*id), blank)))
    }

    fn sandboxes_mut(&mut self) -> impl Iterator<Item = (Whose, &mut Sandbox)> {
        let replicas = self.replicas.iter_mut().map(|(id, replica)| (Whose::Replica(id.clone()), &mut replica.sandbox));
        replicas.chain(self.pool.blanks.iter_mut().map(|(id, blank)| (Whose::Blank(*id), blank)))
    }

    fn sandbox_mut(&mut self, whose: &Whose) -> Option<&mut Sandbox> {
        match whose {
            Whose::Replica(id) => self.replicas.get_mut(id).map(|replica| &mut replica.sandbox),
            Whose::Blank(id) => self.pool.blanks.get_mut(id),
        }
    }

    fn next_due(&mut self) -> Option<Instant> {
        let is_looked_at = |sandbox: &Sandbox| sandbox.is_freezing() || sandbox.is_memory_looked_at();
        let looks = self.sandboxes().any(|(_, it)| is_looked_at(it)).then(|| Instant::now() + LOOK_EVERY);
        let kills = self.sandboxes().filter_map(|(_, it)| it.kill_at()).min();
        let blank = self.blank_due(Instant::now());
        let server = self.next_server_due(Instant::now());
        let reaps = self.replicas.values().filter_map(|replica| replica.sandbox.waits_until()).min();
        [
            looks,
            kills,
            blank,
            server,
            reaps,
            self.layers.next_due(),
            self.restart_node_at,
            self.hello_due(),
            self.ending.next_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When a node that has said nothing is given up.
    fn hello_due(&self) -> Option<Instant> {
        let silent = self.node.as_ref().is_some_and(|node| !node.greeted && !node.is_condemned());
        silent.then(|| self.node_started + NODE_HELLO_DEADLINE)
    }

    fn on_signals(&mut self) -> Result<(), SpawnerError> {
        while let Some(told) =
            self.signals.next().map_err(|source| SpawnerError::Io { operation: "reading signals", source })?
        {
            match told {
                Told::ChildEnded => self.reap()?,
                Told::End => self.on_told_to_end(),
            }
        }
        Ok(())
    }

    fn on_node_ready(&mut self) {
        let begun = Instant::now();
        for _ in 0..REQUESTS_A_TURN {
            if begun.elapsed() > REQUESTS_A_TURN_TAKE_MAX {
                break;
            }
            let Some(node) = self.node.as_mut().filter(|node| !node.is_condemned()) else { return };
            match node.receive() {
                Ok(Some(request)) => self.on_request(request),
                Ok(None) => break,
                // Its exit is told by a signal.
                Err(ChannelError::Closed) => return self.drop_node(),
                Err(error) => {
                    tracing::error!("the node process is replaced: {}", error_chain::one_line(&error));
                    return self.drop_node();
                }
            }
        }
        let flushed = self.node.as_mut().map_or(Ok(()), Node::flush);
        if let Err(error) = flushed {
            tracing::error!("the node process is replaced: {}", error_chain::one_line(&error));
            self.drop_node();
        }
    }

    fn on_request(&mut self, request: Request) {
        let greeted = self.node.as_ref().is_some_and(|node| node.greeted);
        match request {
            Request::Hello { version } if !greeted => self.on_hello(version),
            _ if !greeted => {
                tracing::error!("the node process is replaced: it did not say hello first");
                self.drop_node();
            }
            Request::Hello { .. } => self.refuse(None, "hello was said already"),
            Request::Create(spec) => self.on_create(*spec),
            Request::Freeze { replica } => self.on_freeze(replica),
            Request::Thaw { replica } => self.on_thaw(replica),
            Request::Stop { replica, grace_ms } => self.on_stop(replica, Duration::from_millis(grace_ms.into())),
            Request::Socket { replica, kind } => self.on_socket(replica, kind),
            Request::Forget { endpoint } => self.on_forget(endpoint),
            Request::UnpackLayer { blob, diff_id, compression, bytes_max } => {
                self.on_layer_task(Task::Unpack(Asked { blob, diff_id, compression, bytes_max }));
            }
            Request::RemoveLayer { diff_id } => self.on_layer_task(Task::Remove(diff_id)),
            Request::Drained if self.ending.has_begun() => self.on_drained(),
            Request::Drained => self.refuse(None, "the daemon was not told to end"),
        }
    }

    fn on_creation_report(&mut self, whose: &Whose) {
        match self.sandbox_mut(whose).and_then(Sandbox::read_report) {
            None => {}
            Some(Report::Created { pid, phases, helper, .. }) => {
                let is_helper_gone = helper.map(Pid::from_raw).is_some_and(|helper| {
                    // Its number is told once it has ended, and can be lost among those of others.
                    self.early.remove(&helper).is_some() || is_gone(helper)
                });
                if let Whose::Replica(id) = whose {
                    self.tell_created(id, Origin::Created(phases));
                }
                let pid = Pid::from_raw(pid);
                let early = self.early.remove(&pid);
                // What was told early may have been of another process of this number.
                if is_gone(pid) {
                    self.on_payload_ended(whose, early);
                } else if is_helper_gone {
                    self.on_helper_ended(whose);
                }
            }
            Some(Report::Failed { reason }) => self.on_not_created(whose, reason),
        }
        if self.sandboxes().all(|(_, sandbox)| sandbox.creation_pipe().is_none()) {
            // No payload's: a pid may be given to one later.
            self.early.clear();
        }
    }

    fn on_worker_said(&mut self, whose: &Whose) {
        let Some(said) = self.sandbox_mut(whose).and_then(Sandbox::read_word) else { return };
        match whose {
            Whose::Blank(id) => self.on_blank_said(*id, said),
            Whose::Replica(id) => match said {
                Said::Ready(load) => {
                    self.ahead.started(Instant::now());
                    self.tell(Event::Ready { replica: id.clone(), load }, None);
                }
                Said::LoadFailed(reason) => self.tell(Event::LoadFailed { replica: id.clone(), reason }, None),
                Said::ServerEnded(ended) => self.on_server_ended(id, ended),
                Said::NothingMore => self.on_nothing_more(id),
                Said::Blank => {}
            },
        }
    }

    fn on_memory_alarm(&mut self, whose: &Whose) {
        if let Some(sandbox) = self.sandbox_mut(whose) {
            sandbox.on_memory_alarm(Instant::now());
        }
    }

    /// Whatever is due by now.
    fn on_time(&mut self, now: Instant) -> Result<(), SpawnerError> {
        for (_, sandbox) in self.sandboxes_mut().filter(|(_, sandbox)| sandbox.is_memory_looked_at()) {
            if let Err(error) = sandbox.look_at_memory(now) {
                let (sandbox, reason) = (sandbox.name(), error_chain::one_line(&error));
                tracing::error!(sandbox, "killing what is out of memory failed: {reason}");
            }
        }
        self.kill_what_is_due(now);
        let freezing = self.replicas.iter_mut().filter(|(_, replica)| replica.sandbox.is_freezing());
        let looked: Vec<_> = freezing.map(|(id, replica)| (id.clone(), replica.sandbox.look_at_freeze(now))).collect();
        for (id, freeze) in looked {
            self.tell_freeze(id, freeze);
        }
        self.give_up_silent_templates(now);
        self.fork_ahead(now);
        self.fill_pool(now);
        if self.restart_node_at.is_some_and(|at| now >= at) {
            self.start_node_again();
        }
        if self.hello_due().is_some_and(|at| now >= at) {
            tracing::error!("the node process is replaced: it did not say hello in time");
            self.drop_node();
        }
        self.layers.kill_overdue(now);
        self.end_what_is_due(now);
        Ok(())
    }

    fn tell_freeze(&mut self, replica: ReplicaId, freeze: Result<Freeze, CgroupError>) {
        match freeze {
            Ok(Freeze::Frozen) => self.tell(Event::Frozen { replica }, None),
            Ok(Freeze::StillFreezing) => {}
            Ok(Freeze::GaveUp) => {
                let cause = Some("its processes did not come to rest in time".to_owned());
                self.tell(Event::Thawed { replica, cause }, None);
            }
            Err(error) => self.refuse(Some(replica), &error_chain::one_line(&error)),
        }
    }

    /// Sends an event to the node, if there is one that listens.
    fn tell(&mut self, event: Event, descriptor: Option<BorrowedFd<'_>>) {
        let Some(node) = self.node.as_mut().filter(|node| node.greeted) else { return };
        let sent = node.send(event, descriptor);
        self.note_sent(sent);
    }

    /// Comes with the replica's log, of which no duplicate is made: there may be no descriptor left.
    fn tell_created(&mut self, id: &ReplicaId, origin: Origin) {
        let Some(node) = self.node.as_mut().filter(|node| node.greeted) else { return };
        let Some(replica) = self.replicas.get(id) else { return };
        let started_at_ms = replica.started_at_ms();
        let created = Event::Created { replica: id.clone(), started_at_ms, origin };
        let sent = node.send(created, Some(replica.sandbox.log()));
        self.note_sent(sent);
    }

    fn note_sent(&mut self, sent: Result<(), NodeError>) {
        if let Err(error) = sent {
            tracing::error!("the node process is replaced: {}", error_chain::one_line(&error));
            self.drop_node();
        }
    }

    fn note_turn(&mut self, took: Duration) {
        if took > self.longest_turn {
            self.longest_turn = took;
            if let Some(slow_turn) = slow_turn(took) {
                self.tell(slow_turn, None);
            }
        }
    }
}

/// Whether no process of this number is left, not even one that ended and waits for its parent.
fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

/// A turn worth telling the node.
fn slow_turn(took: Duration) -> Option<Event> {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    (took > TURN_SLOW).then_some(Event::SlowTurn { micros })
}

fn io_error(operation: &'static str) -> impl FnOnce(io::Error) -> SpawnerError {
    move |source| SpawnerError::Io { operation, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_turn_that_made_others_wait_is_told() {
        assert_eq!(slow_turn(TURN_SLOW), None);
        assert_eq!(slow_turn(Duration::from_micros(1_001)), Some(Event::SlowTurn { micros: 1_001 }));
    }
}
