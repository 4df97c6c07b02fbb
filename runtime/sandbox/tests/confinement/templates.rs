//! Templates and the servers that are forked of them: how they stand apart, and how each ends.

use dormouse_driver::{
    Daemon, Node,
    machine::{self, interface, processes_of, until},
    script::{call_fatally, read_log, replica_of, template_of},
    worker::template::{MOVES_IN, STAYS_BEHIND, TELLS_NOTHING, TELLS_TOO_MUCH, UNFILTERED},
};
use dormouse_sandbox::messages::{Event, ExitCause, Origin, ReplicaId, ReplicaSpec, Request, Work};
use dormouse_spec::Bytes;
use rustix::process::{Pid, Signal, kill_process};

use crate::worker::{FAILS_TO_LOAD, LIES, LOAD_REASON};

/// A daemon with a template that is ready.
struct Stage {
    daemon: Daemon,
    node: Node,
    template: ReplicaSpec,
}

impl Stage {
    fn set(endpoint: &str) -> Self {
        let mut daemon = Daemon::start();
        let mut node = daemon.node();
        let template = template_of(&replica_of(endpoint, 1));
        node.start(&template);
        Self { daemon, node, template }
    }

    fn fork_of(&self, serial: u64) -> ReplicaSpec {
        let work = Work::Fork { template: self.template.replica.clone() };
        replica_of(self.template.replica.endpoint().as_str(), serial).with_work(work)
    }

    fn fork(&mut self, serial: u64) -> ReplicaId {
        let spec = self.fork_of(serial);
        let started = self.node.start(&spec);
        assert!(matches!(started.origin, Origin::Forked(_)), "{:?}", started.origin);
        spec.replica
    }

    fn process(&self, replica: &ReplicaId) -> i32 {
        machine::process(&self.daemon.group(), replica)
    }

    /// The first process of the container. The server that waits is in its group as well.
    fn template_process(&self) -> i32 {
        let is_first = |pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
        };
        machine::processes(&self.daemon.group(), &self.template.replica).into_iter().find(is_first).expect("it lives")
    }

    /// The server that was forked ahead, once it is there.
    fn waiting_server(&self) -> i32 {
        let template = self.template_process();
        let mut waiting = Vec::new();
        until("a server is forked ahead", || {
            // The child that made the container may be in its group for a moment.
            let own = children(template);
            waiting = machine::processes(&self.daemon.group(), &self.template.replica);
            waiting.retain(|pid| own.contains(pid));
            waiting.len() == 1
        });
        waiting[0]
    }

    fn template_lives(&self) -> bool {
        !processes_of(&self.daemon.group(), self.template.replica.as_str()).is_empty()
    }

    fn is_refused(&mut self, spec: &ReplicaSpec) {
        self.node.create(spec);
        match self.node.exit_cause(&spec.replica) {
            ExitCause::NotCreated { reason } => assert!(reason.contains("template"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }

    fn leave(self) {
        self.daemon.end(self.node);
    }
}

pub(crate) fn servers_serve_each_in_its_own_group() {
    let mut stage = Stage::set("plain");
    let (first, second) = (stage.fork(1), stage.fork(2));
    let group = stage.daemon.group();
    let limit = |replica| interface(&group, replica, ("memory", "memory.limit_in_bytes"), "memory.max");
    for server in [&first, &second] {
        assert_eq!(limit(server), stage.template.limits.memory.get().to_string());
        assert_eq!(stage.node.call(server, "hostname"), "dormouse");
        assert_ne!(stage.process(server), stage.template_process());
    }
    assert!(!stage.node.socket(&stage.template.replica).exists(), "nobody can connect to a template");
    stage.leave();
}

pub(crate) fn a_crashed_server_is_told_and_forked_again() {
    let mut stage = Stage::set("plain");
    let sibling = stage.fork(1);
    for (serial, command, cause) in
        [(2, "fault", ExitCause::Signal { signal: 11 }), (3, "exit 3", ExitCause::Code { code: 3 })]
    {
        let server = stage.fork(serial);
        call_fatally(&stage.node.socket(&server), command);
        assert_eq!(stage.node.exit_cause(&server), cause);
    }
    let again = stage.fork(4);
    for server in [&sibling, &again] {
        assert_eq!(stage.node.call(server, "hostname"), "dormouse");
    }
    stage.leave();
}

pub(crate) fn a_server_out_of_memory_ends_alone() {
    let mut stage = Stage::set("plain");
    let (sibling, eater) = (stage.fork(1), stage.fork(2));
    call_fatally(&stage.node.socket(&eater), "eat");
    let limit_bytes = stage.template.limits.memory.get();
    assert_eq!(stage.node.exit_cause(&eater), ExitCause::OutOfMemory { limit_bytes });
    assert_eq!(stage.node.call(&sibling, "hostname"), "dormouse");
    assert!(stage.template_lives());
    stage.leave();
}

pub(crate) fn a_killed_template_takes_its_servers_along() {
    let mut stage = Stage::set("plain");
    let (running, frozen) = (stage.fork(1), stage.fork(2));
    stage.node.freeze(&frozen);
    let template = stage.template.replica.clone();
    kill_process(Pid::from_raw(stage.template_process()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(stage.node.exit_cause(&template), ExitCause::Signal { signal: 9 });
    for server in [&running, &frozen] {
        assert_eq!(stage.node.exit_cause(server), ExitCause::TemplateEnded);
    }
    stage.leave();
}

pub(crate) fn a_stopped_template_takes_its_servers_along() {
    let mut stage = Stage::set("plain");
    let (running, frozen, stopped) = (stage.fork(1), stage.fork(2), stage.fork(3));
    stage.node.freeze(&frozen);
    let template = stage.template.replica.clone();
    stage.node.stop(&stopped, 600_000);
    stage.node.stop(&template, 0);
    assert_eq!(stage.node.exit_cause(&template), ExitCause::Stopped);
    for server in [&running, &frozen] {
        assert_eq!(stage.node.exit_cause(server), ExitCause::TemplateEnded);
    }
    assert_eq!(stage.node.exit_cause(&stopped), ExitCause::Stopped);
    stage.leave();
}

pub(crate) fn what_is_no_template_of_it_forks_nothing() {
    let mut stage = Stage::set("plain");
    let good = stage.fork_of(1);
    let mut smaller = stage.fork_of(2);
    smaller.limits.memory = Bytes::from_mebibytes(32);
    stage.is_refused(&smaller);
    let other_endpoint = ReplicaSpec { replica: replica_of("other", 3).replica, ..good.clone() };
    stage.is_refused(&other_endpoint);
    let revised = ReplicaSpec { replica: ReplicaId::new(good.replica.endpoint(), 2, 4), ..good.clone() };
    stage.is_refused(&revised);
    let of_nobody = stage.fork_of(6).with_work(Work::Fork { template: replica_of("plain", 5).replica });
    stage.is_refused(&of_nobody);
    let server = stage.fork(7);
    let of_a_server = stage.fork_of(8).with_work(Work::Fork { template: server });
    stage.is_refused(&of_a_server);
    let template = stage.template.replica.clone();
    stage.node.freeze(&template);
    let of_a_frozen_one = stage.fork_of(9);
    stage.is_refused(&of_a_frozen_one);
    stage.node.thaw(&template);
    stage.fork(10);
    stage.leave();
}

pub(crate) fn a_server_that_does_not_load_says_why() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let template = template_of(&replica_of(FAILS_TO_LOAD, 1));
    node.start(&template);
    let server = replica_of(FAILS_TO_LOAD, 1).with_work(Work::Fork { template: template.replica.clone() });
    node.create(&server);
    let log = node.created(&server.replica).log;
    let Event::LoadFailed { reason, .. } = node.of(&server.replica) else { panic!("it does not serve") };
    assert_eq!(reason, LOAD_REASON);
    assert_eq!(node.exit_cause(&server.replica), ExitCause::Code { code: 1 });
    assert_eq!(read_log(log), "");
    daemon.end(node);
}

pub(crate) fn a_server_that_is_not_confined_does_not_serve() {
    for (endpoint, expected) in [(STAYS_BEHIND, "did not join"), (UNFILTERED, "Seccomp_filters")] {
        let mut stage = Stage::set(endpoint);
        let server = stage.fork_of(1);
        stage.node.create(&server);
        stage.node.created(&server.replica);
        let Event::LoadFailed { reason, .. } = stage.node.of(&server.replica) else { panic!("it does not serve") };
        assert!(reason.contains(expected), "{reason}");
        let cause = stage.node.exit_cause(&server.replica);
        // One that is in its template's group can only be ended with it.
        let expected =
            if endpoint == STAYS_BEHIND { ExitCause::TemplateEnded } else { ExitCause::Signal { signal: 9 } };
        assert_eq!(cause, expected);
        stage.leave();
    }
}

/// Not held until somebody gives up waiting: there is another one to be forked.
pub(crate) fn a_server_that_lies_about_its_loading_is_ended() {
    let mut stage = Stage::set(LIES);
    let server = stage.fork_of(1);
    stage.node.create(&server);
    stage.node.created(&server.replica);
    assert_eq!(stage.node.exit_cause(&server.replica), ExitCause::Signal { signal: 9 });
    stage.leave();
}

pub(crate) fn a_template_that_breaks_the_contract_is_ended() {
    let mut stage = Stage::set(TELLS_NOTHING);
    let server = stage.fork(1);
    call_fatally(&stage.node.socket(&server), "fault");
    assert_eq!(stage.node.exit_cause(&server), ExitCause::TemplateEnded);
    let template = stage.template.replica.clone();
    assert_eq!(stage.node.exit_cause(&template), ExitCause::Signal { signal: 9 });
    stage.leave();

    let mut stage = Stage::set(TELLS_TOO_MUCH);
    let server = stage.fork_of(1);
    stage.node.create(&server);
    stage.node.created(&server.replica);
    let template = stage.template.replica.clone();
    assert_eq!(stage.node.exit_cause(&template), ExitCause::Signal { signal: 9 });
    stage.leave();
}

/// It has held the entrances to the control groups of its servers, and may keep them. It can go no further than
/// that, and whatever ends them ends it.
pub(crate) fn a_template_that_moves_in_with_a_server_ends_with_it() {
    for (is_server_stopped, is_server_frozen) in [(true, false), (false, false), (false, true)] {
        let mut stage = Stage::set(MOVES_IN);
        let template = stage.template.replica.clone();
        let process = stage.template_process();
        let (first, second) = (stage.fork(1), stage.fork(2));
        until("it moved", || machine::processes(&stage.daemon.group(), &first).contains(&process));
        until("its own group is empty", || !stage.template_lives());
        if is_server_frozen {
            stage.node.freeze(&first);
        }
        stage.node.stop(if is_server_stopped { &first } else { &template }, 0);
        let causes = [&template, &first, &second].map(|it| stage.node.exit_cause(it));
        let killed = ExitCause::Signal { signal: 9 };
        let (gone, stopped) = (ExitCause::TemplateEnded, ExitCause::Stopped);
        assert_eq!(causes, if is_server_stopped { [killed, stopped, gone] } else { [stopped, gone.clone(), gone] });
        stage.leave();
    }
}

/// At whichever point of being forked it is.
pub(crate) fn stop_reaches_a_server_that_is_being_forked() {
    let mut stage = Stage::set("plain");
    for serial in 1..20 {
        let spec = stage.fork_of(serial);
        stage.node.create(&spec);
        stage.node.stop(&spec.replica, if serial % 2 == 0 { 0 } else { 600_000 });
        if serial % 2 == 1 {
            // What was asked to end before it was there may not have heard it.
            stage.node.stop(&spec.replica, 0);
        }
        until("it ends", || match stage.node.of(&spec.replica) {
            Event::Exited { cause, .. } => {
                assert_eq!(cause, ExitCause::Stopped);
                true
            }
            _ => false,
        });
        assert!(matches!(stage.node.of(&spec.replica), Event::Removed { .. }));
    }
    assert!(stage.template_lives());
    stage.leave();
}

/// Nothing of a server is left in the spawner, in its template or in the kernel.
pub(crate) fn nothing_is_left_of_a_server() {
    let mut stage = Stage::set("plain");
    let template = stage.template_process();
    let open = |pid: i32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut before = None;
    for serial in 1..10 {
        let server = stage.fork(serial);
        stage.node.freeze(&server);
        stage.node.stop(&server, 0);
        assert_eq!(stage.node.exit_cause(&server), ExitCause::Stopped);
        let name = machine::group_of(&stage.daemon.group(), &server);
        assert!(machine::groups(&stage.daemon.group()).iter().all(|group| !group.join(&name).exists()));
        assert!(!stage.node.socket(&server).exists());
        stage.waiting_server();
        // What was open for the template's own beginning is closed by the end of the first; what is for the next
        // server's, in a moment.
        let now = || [stage.daemon.pid(), template].map(open);
        let before = *before.get_or_insert_with(now);
        until("no more is open than before", || now().iter().zip(before).all(|(now, before)| *now <= before));
    }
    assert_eq!(children(template), [stage.waiting_server()], "all others were waited for");
    stage.leave();
}

fn children(process: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

pub(crate) fn the_server_that_was_forked_ahead_serves_next() {
    let mut stage = Stage::set("plain");
    let waiting = stage.waiting_server();
    let server = stage.fork(1);
    assert_eq!(stage.process(&server), waiting);
    assert_ne!(stage.waiting_server(), waiting);
    // Its group was made for it before, and is none of the template's.
    assert_eq!(stage.node.call(&server, "hostname"), "dormouse");
    stage.leave();
}

pub(crate) fn one_that_ended_while_it_waited_costs_nobody_anything() {
    let mut stage = Stage::set("plain");
    for serial in 1..4 {
        let waiting = stage.waiting_server();
        kill_process(Pid::from_raw(waiting).unwrap(), Signal::KILL).unwrap();
        // It has closed its channel once it is waited for by its template alone.
        until("it is dead", || {
            std::fs::read_to_string(format!("/proc/{waiting}/status")).is_ok_and(|it| it.contains("Z (zombie)"))
        });
        let server = stage.fork(serial);
        assert_eq!(stage.node.call(&server, "hostname"), "dormouse");
        until("its template waited for it", || !std::path::Path::new(&format!("/proc/{waiting}")).exists());
    }
    assert!(stage.template_lives());
    stage.leave();
}

pub(crate) fn a_request_names_a_template_by_its_id_alone() {
    let mut stage = Stage::set("plain");
    let spec = stage.fork_of(1);
    let text = serde_json::to_string(&Request::Create(Box::new(spec))).unwrap();
    stage.node.send_bytes(text.replace("\"template\":\"", "\"template\":\"../").as_bytes());
    stage.node.wait_until_closed();
    drop(stage.node);
    let node = stage.daemon.node();
    stage.daemon.end(node);
}
