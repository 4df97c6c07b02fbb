//! A node process that somebody took over: it speaks the channel and wants more than the list of
//! requests says. Each test ends with an honest node that is served.

use std::{
    fs,
    io::{IoSlice, Write},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use dormouse_driver::{
    Daemon, Node,
    daemon::{IMAGE_ID_BASE, Settings},
    machine::{self, status_of, until},
    script::{LIMITS, model, replica, replica_of},
};
use dormouse_sandbox::{
    channel::{ChannelError, MESSAGE_BYTES_MAX},
    messages::{Event, ExitCause, ReplicaId, ReplicaSpec, Request},
};
use dormouse_spec::{Bytes, Digest, MilliCpu};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sockopt::set_socket_linger},
};

use crate::worker;

/// Far more than a socket, the spawner's outbox and its table hold together.
const FLOOD: u64 = 10_000;
/// The most descriptors that the kernel takes with one message.
const DESCRIPTORS: usize = 253;

/// Whatever was tried before: a replica starts, serves, rests, and all ends as it should.
fn serves(daemon: Daemon, mut node: Node) {
    let spec = replica_of("honest", 1);
    node.start(&spec);
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse");
    node.freeze(&spec.replica);
    node.thaw(&spec.replica);
    node.stop(&spec.replica, 0);
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::Stopped);
    daemon.end(node);
}

fn open_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn refusal(node: &mut Node, spec: &ReplicaSpec) -> String {
    match node.exit_cause(&spec.replica) {
        ExitCause::NotCreated { reason } => reason,
        other => panic!("{other:?}: it was made"),
    }
}

fn json(request: &Request) -> String {
    serde_json::to_string(request).unwrap()
}

/// What a parser accepts, and what it must not, is listed beside the channel; these go through it to
/// the one process that may not end.
pub(crate) fn what_is_no_message_ends_the_node_and_nothing_else() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let living = replica_of("living", 1);
    node.start(&living);
    machine::process(&daemon.group(), &living.replica);
    let before = open_descriptors(daemon.pid());
    let create = json(&Request::Create(Box::new(replica_of("another", 1))));
    let hostile: [Vec<u8>; 7] = [
        Vec::new(),
        vec![b'['; MESSAGE_BYTES_MAX],
        [json(&Request::Drained).as_bytes(), &vec![b' '; MESSAGE_BYTES_MAX]].concat(),
        create.as_bytes()[..create.len() / 2].to_vec(),
        create.replace(&model().hex(), &format!("{:0<64}", "../../../etc")).into_bytes(),
        // Its own endpoint beside the one that its id names.
        create.replace(r#""payload""#, r#""endpoint":"living","payload""#).into_bytes(),
        // The control group of the node itself, had ids any other form.
        create.replace("another-1-1", "node").into_bytes(),
    ];
    for datagram in hostile {
        node.send_bytes(&datagram);
        node.wait_until_closed();
        drop(node);
        node = daemon.node();
        let found: Vec<&ReplicaId> = node.adopted.iter().map(|(report, _)| &report.spec.replica).collect();
        assert_eq!(found, [&living.replica], "{}", String::from_utf8_lossy(&datagram[..datagram.len().min(200)]));
        node.adopted.clear();
        until("no more is open than before", || open_descriptors(daemon.pid()) == before);
    }
    assert_eq!(node.call(&living.replica, "hostname"), "dormouse");
    serves(daemon, node);
}

/// What is attached is the spawner's to close. It must neither keep it nor wait for it: this socket
/// would hold whoever closes it last for ten minutes.
pub(crate) fn no_descriptor_is_taken() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let before = open_descriptors(daemon.pid());
    let (full, _unread) = full_socket();
    for count in [1, DESCRIPTORS] {
        set_socket_linger(&full, Some(Duration::from_secs(600))).unwrap();
        let descriptors = vec![full.as_fd(); count];
        match send_with(node.channel(), json(&Request::Drained).as_bytes(), &descriptors) {
            // The kernel refuses it for the spawner.
            Err(Errno::PERM) => set_socket_linger(&full, None).unwrap(),
            sent => {
                sent.unwrap();
                node.wait_until_closed();
                drop(node);
                node = daemon.node();
            }
        }
        until("no more is open than before", || open_descriptors(daemon.pid()) == before);
    }
    set_socket_linger(&full, None).unwrap();
    serves(daemon, node);
}

/// A connection that can send no more, and its other end.
fn full_socket() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut full = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (unread, _) = listener.accept().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 1 << 16]).is_ok() {}
    (full, unread)
}

fn send_with(channel: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    rustix::net::sendmsg(channel, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}

pub(crate) fn ids_of_living_and_dying_replicas_are_taken() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica_of(worker::IGNORES_SIGTERM, 1);
    node.start(&spec);
    let pid = machine::process(&daemon.group(), &spec.replica);
    // It was asked to end, and does not.
    node.stop(&spec.replica, 600_000);
    for _ in 0..100 {
        node.create(&spec);
        assert!(matches!(node.of(&spec.replica), Event::Refused { .. }));
    }
    assert_eq!(machine::process(&daemon.group(), &spec.replica), pid);
    node.stop(&spec.replica, 0);
    // While it is killed and removed the id is still its own; what comes after that is another replica.
    let mut told = Vec::new();
    node.create(&spec);
    loop {
        match node.of(&spec.replica) {
            Event::Refused { .. } => node.create(&spec),
            Event::Created { .. } => break,
            ended => told.push(ended),
        }
    }
    let (replica, cause) = (|| spec.replica.clone(), ExitCause::Stopped);
    assert_eq!(told, [Event::Exited { replica: replica(), cause }, Event::Removed { replica: replica() }]);
    assert_ne!(machine::process(&daemon.group(), &spec.replica), pid);
    serves(daemon, node);
}

pub(crate) fn limits_end_at_the_policy() {
    let mut daemon = Daemon::start_with(|settings| settings.memory_budget = Bytes::from_mebibytes(200));
    let mut node = daemon.node();
    type Raise = fn(&mut ReplicaSpec);
    let raises: [(&str, Raise); 8] = [
        ("budget", |spec| spec.limits.memory = Bytes::from_mebibytes(201)),
        // The kernel takes this for no limit at all.
        ("budget", |spec| spec.limits.memory = Bytes::new(u64::MAX)),
        ("cpu", |spec| spec.limits.cpu = MilliCpu::from_milli(1_001)),
        ("pids", |spec| spec.limits.pids = u32::MAX),
        ("/tmp", |spec| spec.limits.tmp = Bytes::new(u64::MAX)),
        ("threads", |spec| spec.payload.model_mut().unwrap().intra_op_threads = u32::MAX),
        ("concurrency", |spec| spec.concurrency = 9),
        ("body", |spec| spec.payload.model_mut().unwrap().body_bytes_max = u64::MAX),
    ];
    for (serial, (what, raise)) in (1..).zip(raises) {
        let mut spec = replica_of("greedy", serial);
        raise(&mut spec);
        node.create(&spec);
        let reason = refusal(&mut node, &spec);
        assert!(reason.contains("policy") && reason.contains(what), "{what}: {reason}");
        for group in machine::groups(&daemon.group()) {
            assert!(!group.join(spec.replica.as_str()).exists(), "{what}");
        }
    }
    serves(daemon, node);
}

/// Frozen and dying replicas hold theirs, and one that is gone holds nothing: a node that keeps
/// accounts, as the real one does, is never refused.
pub(crate) fn memory_is_counted_until_nothing_is_left() {
    // Three of them fit.
    let budget = Bytes::new(LIMITS.memory.get() * 3);
    let mut daemon = Daemon::start_with(|settings| settings.memory_budget = budget);
    let mut node = daemon.node();
    let (frozen, dying) = (replica_of("frozen", 1), replica_of(worker::IGNORES_SIGTERM, 1));
    node.start(&frozen);
    node.freeze(&frozen.replica);
    node.start(&dying);
    node.stop(&dying.replica, 600_000);
    let mut living = replica_of("plain", 1);
    node.start(&living);
    let one_more = replica_of("more", 1);
    node.create(&one_more);
    let reason = refusal(&mut node, &one_more);
    assert!(reason.contains("64Mi of memory beside the 192Mi"), "{reason}");
    for serial in 2..=5 {
        node.stop(&living.replica, 0);
        assert_eq!(node.exit_cause(&living.replica), ExitCause::Stopped);
        living = replica_of("plain", serial);
        node.start(&living);
    }
    // What a killed node held is held still, and its successor knows.
    node.signal(rustix::process::Signal::KILL);
    node.wait_until_closed();
    drop(node);
    let mut node = daemon.node();
    assert_eq!(node.adopted.len(), 3);
    node.create(&one_more);
    refusal(&mut node, &one_more);
    for spec in [&frozen, &dying, &living] {
        node.stop(&spec.replica, 0);
        node.exit_cause(&spec.replica);
    }
    serves(daemon, node);
}

/// Asks all of it, however full the channel is; what is told meanwhile is kept.
fn flood(node: &mut Node, requests: impl Iterator<Item = Request>) {
    for request in requests {
        until("the spawner takes a request", || match node.try_ask(&request) {
            Ok(()) => true,
            Err(ChannelError::Full) => {
                node.take_in();
                false
            }
            Err(error) => panic!("{error}"),
        });
    }
}

pub(crate) fn a_flood_holds_up_nobody() {
    // Room for three replicas.
    let mut daemon = Daemon::start_with(|settings| settings.open_files = Some((40, 80 + 3 * 7)));
    let mut node = daemon.node();
    let (neighbour, victim) = (replica_of("neighbour", 1), replica_of("victim", 1));
    node.start(&neighbour);
    node.start(&victim);
    let pid = machine::process(&daemon.group(), &victim.replica);
    let before = open_descriptors(daemon.pid());
    let kill_in_the_middle = |serial| {
        if serial == FLOOD / 2 {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    };
    let unknown = Digest::from_sha256([9; 32]);
    flood(
        &mut node,
        (0..FLOOD).inspect(|serial| kill_in_the_middle(*serial)).map(|serial| {
            let mut spec = replica_of(&format!("flood-{serial}"), serial);
            spec.payload.model_mut().unwrap().model = unknown;
            match serial % 4 {
                0 => Request::Create(Box::new(spec)),
                1 => Request::Forget { endpoint: spec.replica.endpoint().clone() },
                2 => Request::Freeze { replica: spec.replica },
                _ => Request::Stop { replica: spec.replica, grace_ms: u32::MAX },
            }
        }),
    );
    let cause = node.exit_cause(&victim.replica);
    assert_eq!(cause, ExitCause::Signal { signal: nix::libc::SIGKILL });
    assert_eq!(node.call(&neighbour.replica, "hostname"), "dormouse");
    // Each creation of the flood is answered: there was no room for it, or its model is wanting.
    for serial in (0..FLOOD).step_by(4) {
        node.exit_cause(&replica_of(&format!("flood-{serial}"), serial).replica);
    }
    until("the victim's are closed, and no more are open", || open_descriptors(daemon.pid()) < before);
    node.take_in();
    serves(daemon, node);
}

pub(crate) fn storms_of_freezes_and_stops_end() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    let replica = || spec.replica.clone();
    let storm = (0..FLOOD).map(|number| match number % 3 {
        0 => Request::Freeze { replica: replica() },
        1 => Request::Thaw { replica: replica() },
        _ => Request::Freeze { replica: replica() },
    });
    flood(&mut node, storm.chain([Request::Thaw { replica: replica() }]));
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse", "it was thawed last");
    // Made, frozen and told to end in one breath, and again.
    for serial in 2..12 {
        let spec = replica_of("storm", serial);
        let replica = || spec.replica.clone();
        let stop = |grace_ms| Request::Stop { replica: replica(), grace_ms };
        let breath = [Request::Freeze { replica: replica() }, stop(600_000), Request::Freeze { replica: replica() }];
        flood(&mut node, [Request::Create(Box::new(spec.clone()))].into_iter().chain(breath).chain([stop(0)]));
        loop {
            match node.of(&spec.replica) {
                Event::Exited { cause, .. } => break assert_eq!(cause, ExitCause::Stopped),
                Event::Removed { .. } => panic!("it exits before"),
                _ => {}
            }
        }
        until("it is removed", || matches!(node.of(&spec.replica), Event::Removed { .. }));
    }
    serves(daemon, node);
}

pub(crate) fn a_node_that_never_reads_is_replaced() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica_of("living", 1);
    node.start(&spec);
    let before = open_descriptors(daemon.pid());
    // Each is answered, and no answer is read.
    let stranger = replica_of("stranger", 1).replica;
    until("the spawner gives the node up", || {
        loop {
            match node.try_ask(&Request::Freeze { replica: stranger.clone() }) {
                Ok(()) => {}
                Err(ChannelError::Full) => return false,
                Err(ChannelError::Closed) => return true,
                Err(error) => panic!("{error}"),
            }
        }
    });
    drop(node);
    let node = daemon.node();
    assert_eq!(node.adopted.len(), 1);
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse");
    until("no more is open than before", || open_descriptors(daemon.pid()) == before);
    serves(daemon, node);
}

/// Uids for so many endpoints, beyond the ranges of all other daemons of this machine.
fn give_uids(settings: &mut Settings, endpoints: u32) {
    const RANGES: u32 = 256;
    const IMAGE_IDS: u32 = 65_536;
    // Tests of several checkouts may run at a time.
    settings.uid_base = IMAGE_ID_BASE + IMAGE_IDS + (std::process::id() % RANGES) * 8;
    // The first is that of the set-up.
    settings.uid_count = 1 + endpoints;
}

fn uid_of(daemon: &Daemon, replica: &ReplicaId) -> String {
    let uids = status_of(machine::process(&daemon.group(), replica), "Uid:");
    uids.split_whitespace().next().unwrap().to_owned()
}

pub(crate) fn a_uid_is_not_given_away_while_a_replica_lives() {
    let mut daemon = Daemon::start_with(|settings| give_uids(settings, 2));
    let mut node = daemon.node();
    let (kept, forgotten) = (replica_of("kept", 1), replica_of("forgotten", 1));
    node.start(&kept);
    node.start(&forgotten);
    let uids = [&kept, &forgotten].map(|spec| uid_of(&daemon, &spec.replica));
    assert_ne!(uids[0], uids[1]);
    for spec in [&kept, &forgotten] {
        node.ask(&Request::Forget { endpoint: spec.replica.endpoint().clone() });
    }
    let third = replica_of("third", 1);
    node.create(&third);
    let reason = refusal(&mut node, &third);
    assert!(reason.contains("uid"), "{reason}");
    node.stop(&forgotten.replica, 0);
    node.exit_cause(&forgotten.replica);
    let third = replica_of("third", 2);
    node.start(&third);
    assert_eq!(uid_of(&daemon, &third.replica), uids[1], "only now it is free");
    node.stop(&third.replica, 0);
    node.exit_cause(&third.replica);
    serves(daemon, node);
}

pub(crate) fn names_use_up_no_uids() {
    let mut daemon = Daemon::start_with(|settings| give_uids(settings, 3));
    let mut node = daemon.node();
    let living = replica_of("living", 1);
    node.start(&living);
    let uid = uid_of(&daemon, &living.replica);
    // Never forgotten, and more than there are uids; the next in turn would be that of the living one.
    for serial in 1..9 {
        let mut spec = replica_of(&format!("named-{serial}"), serial);
        spec.payload.model_mut().unwrap().model = Digest::from_sha256([9; 32]);
        node.create(&spec);
        let reason = refusal(&mut node, &spec);
        assert!(reason.contains("opening the stored model"), "{reason}");
    }
    // As many as there are uids, of which one was in use all the while.
    let others = [replica_of("other", 1), replica_of("another", 1)];
    let mut uids = vec![uid.clone()];
    for spec in &others {
        node.start(spec);
        uids.push(uid_of(&daemon, &spec.replica));
    }
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 3, "no two endpoints share one");
    let again = replica_of("living", 2);
    node.start(&again);
    assert_eq!(uid_of(&daemon, &again.replica), uid);
    node.stop(&others[0].replica, 0);
    node.exit_cause(&others[0].replica);
    serves(daemon, node);
}

/// The kernel counts them for the node's user.
pub(crate) fn a_node_has_an_end_of_processes() {
    let mut daemon = Daemon::start();
    let node = daemon.node();
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max processes")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    assert!(numbers.len() == 2 && numbers.iter().all(|most| *most <= 4_096), "{line}");
    serves(daemon, node);
}

/// It is told that the daemon ends, and then says that it drained; said before, it means nothing.
pub(crate) fn a_node_cannot_end_the_daemon() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    node.ask(&Request::Drained);
    assert!(matches!(node.of_none(), Event::Refused { replica: None, .. }));
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse");
    serves(daemon, node);
}

pub(crate) fn the_longest_grace_is_a_grace() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica_of(worker::IGNORES_SIGTERM, 1);
    node.start(&spec);
    node.stop(&spec.replica, u32::MAX);
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse", "it may take its time");
    let other = replica_of("other", 1);
    node.start(&other);
    node.stop(&spec.replica, 0);
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::Stopped);
    serves(daemon, node);
}

/// The node logs it and hands it to whoever deploys.
pub(crate) fn what_a_worker_says_is_one_line() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica_of(worker::FORGES, 1);
    node.create(&spec);
    node.created(&spec.replica);
    let Event::LoadFailed { reason, .. } = node.of(&spec.replica) else { panic!("it does not load") };
    assert!(reason.starts_with("no  2026-01-01T00:00:00Z ERROR forged [2J   \u{fffd}"), "{reason}");
    assert_eq!(reason.chars().find(|c| c.is_control()), None);
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::Code { code: 1 });
    serves(daemon, node);
}
