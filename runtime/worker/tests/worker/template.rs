//! A template and the servers that it forks, without a container: control groups are files, and the filter of the
//! container is not there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{RecvFlags, Shutdown};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::control::{Contained, assignment, channel, file_source, fixture_source, next_word, send};
use crate::http::{Request, Response};
use crate::process::{command, eventually, fixture};

const MODEL: &str = "external/model.onnx";
const REQUEST: &str = r#"{"inputs":[{"name":"x","shape":[4],"datatype":"FP32","data":[1,-2,3.5,0]}]}"#;
/// What the model `dynamic` fails on.
pub(crate) const MISMATCHED: &str = r#"{"inputs":[{"name":"a","shape":[1,3],"datatype":"FP32","data":[1,2,3]},
    {"name":"b","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;
/// Programs that a server loads.
const FILTERS: u32 = 2;

pub(crate) struct Template {
    pub(crate) worker: Contained,
    /// Its id here, where the worker's child may be another program that runs it.
    pid: i32,
}

/// A server as whoever ordered it sees it.
pub(crate) struct Server {
    number: u64,
    control: OwnedFd,
    log: PipeReader,
    socket: PathBuf,
    entrances: Vec<PathBuf>,
    /// Known once it is there.
    pid: i32,
}

impl Template {
    fn start() -> Self {
        let template = Self::of(Contained::start(), &fixture(MODEL));
        template.worker.is_ready();
        template
    }

    /// Does not wait until the model is loaded.
    pub(crate) fn of(worker: Contained, model: &Path) -> Self {
        worker.send(&assignment("template", 1, &[file_source(model)]), &[]);
        let mut pid = i32::try_from(worker.child.id()).unwrap();
        // A wrapper's only child, and that one's.
        while fs::read_link(format!("/proc/{pid}/exe")).unwrap().file_stem().unwrap() != "dormouse-worker" {
            pid = *children(pid).first().unwrap();
        }
        Self { worker, pid }
    }

    /// Orders a server, which then waits for what it is to serve.
    fn fork_ahead(&self, number: u64) -> OwnedFd {
        let (control, theirs) = channel();
        self.worker.send(&json!({"order": "fork", "server": number}), &[theirs.as_fd()]);
        control
    }

    /// Orders a server and has it serve, and does not wait for what it says.
    fn order(&self, number: u64, entrances: usize) -> Server {
        let path = |name: &str| self.worker.directory.path().join(format!("{name}-{number}"));
        let socket = path("socket");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let (log, their_log) = std::io::pipe().unwrap();
        let control = self.fork_ahead(number);
        let entrances: Vec<_> = (0..entrances).map(|index| path(&format!("tasks-{index}"))).collect();
        let files: Vec<File> = entrances.iter().map(|path| File::create(path).unwrap()).collect();
        let own = [listener.as_fd(), their_log.as_fd()];
        let descriptors: Vec<_> = own.into_iter().chain(files.iter().map(AsFd::as_fd)).collect();
        // One that was not forked has closed its channel.
        let _ = send(&control, &json!({"order": "serve"}), &descriptors);
        Server { number, control, log, socket, entrances, pid: 0 }
    }

    /// A server that serves.
    pub(crate) fn fork(&self, number: u64) -> Server {
        let before = children(self.pid);
        let mut server = self.order(number, 2);
        let word = next_word(&server.control);
        let phases: Value = serde_json::from_str(word.strip_prefix('R').expect(&word)).unwrap();
        assert_eq!((&phases["runtime_us"], &phases["model_us"]), (&json!(0), &json!(0)));
        assert!(phases["session_us"].as_u64().is_some_and(|micros| micros > 0), "{word}");
        let new: Vec<i32> = children(self.pid).difference(&before).copied().collect();
        let [pid] = new[..] else { panic!("{new:?}") };
        server.pid = pid;
        server
    }

    /// Gives it no more orders, and waits until it is gone.
    pub(crate) fn end(&mut self) {
        rustix::net::shutdown(&self.worker.control, Shutdown::Write).unwrap();
        self.worker.ends_with(0);
    }

    fn reap(&self, number: u64) -> String {
        self.worker.send(&json!({"order": "reap", "server": number}), &[]);
        self.worker.verdict()
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        // There is no pid namespace to end with it.
        for child in children(self.pid) {
            let _ = kill_process(Pid::from_raw(child).unwrap(), Signal::KILL);
        }
    }
}

impl Server {
    pub(crate) fn infer(&self, json: &str) -> Response {
        Request::infer(json.as_bytes()).send(&self.socket)
    }

    pub(crate) fn send(&self, request: Request) -> Response {
        request.send(&self.socket)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid).unwrap(), signal).unwrap();
    }

    /// Has it meet the signal of a fault until it dies of it.
    pub(crate) fn crash(self, template: &Template) {
        let pid = Pid::from_raw(self.pid).unwrap();
        eventually("it dies of a fault", || {
            kill_process(pid, Signal::SEGV).unwrap();
            rustix::net::recv(&self.control, &mut [0], RecvFlags::DONTWAIT).ok()
        });
        assert_eq!(template.reap(self.number), format!(r#"X{{"server":{},"ended":{{"signal":11}}}}"#, self.number));
    }

    /// Ends it as whoever stops it does, and sees that its end is told.
    pub(crate) fn stop(self, template: &Template) {
        self.signal(Signal::TERM);
        assert_eq!(next_word(&self.control), "");
        assert_eq!(template.reap(self.number), format!(r#"X{{"server":{},"ended":{{"code":0}}}}"#, self.number));
    }
}

fn children(pid: i32) -> BTreeSet<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// What the descriptors of a process are, by number.
fn descriptors(pid: i32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let what = |path: &Path| fs::read_link(path).unwrap().to_str().unwrap().to_owned();
    let mut descriptors: Vec<_> = entries.map(|path| (number(&path), what(&path))).collect();
    descriptors.sort();
    descriptors
}

/// How many filters are on each thread of a process.
fn filters(pid: i32) -> Vec<u32> {
    let count = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let count = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        count.unwrap().trim().parse().unwrap()
    };
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| count(task.unwrap().path())).collect()
}

#[test]
fn servers_answer_at_once_and_as_a_worker_does() {
    let template = Template::start();
    let servers = [template.fork(1), template.fork(2)];
    let waiting = servers.each_ref().map(|server| Request::infer(REQUEST.as_bytes()).start(&server.socket));
    let plain = Contained::start();
    let listener = UnixListener::bind(plain.directory.path().join("socket")).unwrap();
    plain.send(&assignment("serve", 1, &[fixture_source(MODEL)]), &[listener.as_fd()]);
    plain.is_ready();
    let expected = Request::infer(REQUEST.as_bytes()).send(&plain.directory.path().join("socket")).ok();
    for mut stream in waiting {
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        assert_eq!(Response::parse(&reply).ok().text(), expected.text());
    }
    for entrance in servers.iter().flat_map(|server| &server.entrances) {
        assert_eq!(fs::read_to_string(entrance).unwrap(), "0", "{}", entrance.display());
    }
}

#[test]
fn a_killed_server_is_reaped_and_the_next_one_answers() {
    let template = Template::start();
    let [killed, other] = [template.fork(7), template.fork(8)];
    killed.signal(Signal::KILL);
    assert_eq!(next_word(&killed.control), "");
    assert_eq!(template.reap(7), r#"X{"server":7,"ended":{"signal":9}}"#);
    assert_eq!(template.reap(7), r#"X{"server":7,"ended":null}"#);
    other.infer(REQUEST).ok();
    let again = template.fork(7);
    again.infer(REQUEST).ok();
    again.stop(&template);
    other.infer(REQUEST).ok();
    other.stop(&template);
    assert_eq!(children(template.pid), BTreeSet::new());
}

#[test]
fn what_a_server_prints_is_in_its_own_log() {
    let template = Template::of(Contained::start(), &fixture("dynamic.onnx"));
    template.worker.is_ready();
    let [mut server, mut other] = [template.fork(1), template.fork(2)];
    // ONNX Runtime says in the log, too, what it does not like.
    server.infer(MISMATCHED).error(500);
    let log_of = |server: &mut Server| {
        server.signal(Signal::KILL);
        let mut log = String::new();
        // Its end is the server's end: nobody else holds it.
        server.log.read_to_string(&mut log).unwrap();
        log
    };
    assert!(log_of(&mut server).contains("onnxruntime"));
    assert_eq!(log_of(&mut other), "");
}

#[test]
fn the_end_of_the_channel_ends_the_template_and_with_it_its_servers() {
    let mut unshare = Command::new("unshare");
    let plain = command();
    unshare.args(["--pid", "--fork", "--kill-child"]).arg(plain.get_program()).args(plain.get_args());
    let mut template = Template::of(Contained::start_by(unshare), &fixture(MODEL));
    template.worker.is_ready();
    let server = template.fork(1);
    template.end();
    assert_eq!(template.worker.verdict(), "", "it said nothing on its way");
    assert_eq!(next_word(&server.control), "", "nobody holds the server's end of its channel");
}

#[test]
fn a_number_is_one_servers() {
    let template = Template::start();
    let first = template.fork(1);
    let second = template.order(1, 1);
    assert_eq!(next_word(&second.control), "Ethe template has a server 1 already");
    assert_eq!(next_word(&second.control), "");
    let third = template.fork(2);
    third.infer(REQUEST).ok();
    assert!(UnixListener::bind(&first.socket).is_err());
}

#[test]
fn an_order_that_is_none_ends_the_template() {
    let null = File::open("/dev/null").unwrap();
    let fork = json!({"order": "fork", "server": 1});
    let reap = json!({"order": "reap", "server": 1});
    for (order, descriptors, expected) in [
        (&fork, 0, "carries 0 descriptors"),
        (&fork, 2, "carries 2 descriptors"),
        (&fork, 32, "descriptors of the message are lost"),
        (&reap, 1, "carries 1 descriptors instead of none"),
        (&json!({"order": "fork", "server": -1}), 1, "malformed"),
        (&json!({"order": "fork", "server": 1, "path": "/"}), 1, "malformed"),
        (&json!({"order": "exec", "server": 1}), 0, "malformed"),
        (&json!({"order": "serve"}), 3, "malformed"),
    ] {
        let mut template = Template::start();
        template.worker.send(order, &vec![null.as_fd(); descriptors]);
        let verdict = template.worker.verdict();
        assert!(verdict.starts_with('E') && verdict.contains(expected), "{verdict}");
        template.worker.ends_with(1);
    }
}

#[test]
fn an_order_that_is_none_ends_the_server_and_nobody_else() {
    let template = Template::start();
    let null = File::open("/dev/null").unwrap();
    let serve = json!({"order": "serve"});
    for (number, (order, descriptors, expected)) in (1..).zip([
        (&serve, 2, "carries 2 descriptors"),
        (&serve, 32, "descriptors of the message are lost"),
        (&json!({"order": "serve", "path": "/"}), 3, "malformed"),
        (&json!({"order": "fork", "server": 1}), 1, "malformed"),
    ]) {
        let control = template.fork_ahead(number);
        send(&control, order, &vec![null.as_fd(); descriptors]).unwrap();
        let verdict = next_word(&control);
        assert!(verdict.starts_with('E') && verdict.contains(expected), "{verdict}");
        assert_eq!(next_word(&control), "");
        assert_eq!(template.reap(number), format!(r#"X{{"server":{number},"ended":{{"code":1}}}}"#));
    }
    template.fork(9).infer(REQUEST).ok();
}

#[test]
fn a_server_waits_to_be_wanted_and_ends_where_nobody_does() {
    let template = Template::start();
    let control = template.fork_ahead(1);
    eventually("it is there", || (!children(template.pid).is_empty()).then_some(()));
    // Others are forked meanwhile, and hold nothing of it.
    template.fork(2).stop(&template);
    drop(control);
    assert_eq!(template.reap(1), r#"X{"server":1,"ended":{"code":0}}"#);
    assert_eq!(children(template.pid), BTreeSet::new());
}

#[test]
fn a_server_that_cannot_enter_its_groups_says_so_and_ends() {
    let template = Template::start();
    let listener = UnixListener::bind(template.worker.directory.path().join("socket")).unwrap();
    let (_log, their_log) = std::io::pipe().unwrap();
    let closed = File::open("/dev/null").unwrap();
    let own: [BorrowedFd<'_>; 3] = [listener.as_fd(), their_log.as_fd(), closed.as_fd()];
    let control = template.fork_ahead(1);
    send(&control, &json!({"order": "serve"}), &own).unwrap();
    let verdict = next_word(&control);
    assert!(verdict.starts_with("Ethe server cannot enter its control groups: "), "{verdict}");
    assert_eq!(next_word(&control), "");
    assert_eq!(template.reap(1), r#"X{"server":1,"ended":{"code":1}}"#);
}

#[test]
fn a_template_has_one_thread_and_no_listener() {
    let listener = File::open("/dev/null").unwrap();
    for (threads, descriptors, expected) in [
        (2, vec![], "a template has one thread, and the assignment asks for 2 (intra_op_threads)"),
        (1, vec![listener.as_fd()], "the assignment carries 1 descriptors of models where 0 are to be"),
    ] {
        let mut worker = Contained::start();
        worker.send(&assignment("template", threads, &[fixture_source(MODEL)]), &descriptors);
        assert_eq!(worker.verdict(), format!("E{expected}"));
        worker.ends_with(1);
    }
}

#[test]
fn a_server_has_no_descriptor_of_its_template_and_a_template_none_of_its_servers() {
    let template = Template::start();
    let before = descriptors(template.pid);
    let servers = [template.fork(1), template.fork(2)];
    let of_server = |server: &Server| descriptors(server.pid);
    assert_eq!(descriptors(template.pid), before);
    // Whoever runs the tests may have left other descriptors to all of them.
    let channel_and_log = |descriptors: &[(u32, String)]| {
        let of_number = |number| descriptors.iter().find(|(other, _)| *other == number).unwrap().1.clone();
        let (channel, log) = (of_number(0), of_number(2));
        assert!(channel.starts_with("socket:") && log.starts_with("pipe:"), "{descriptors:?}");
        [channel, log]
    };
    let [first, second] = servers.each_ref().map(of_server);
    for other in [&before, &second] {
        for what in channel_and_log(other) {
            assert!(!first.iter().any(|(_, own)| *own == what), "{what} of {other:?} in {first:?}");
        }
    }
    let [_, log] = channel_and_log(&first);
    assert!(first.contains(&(1, log)), "{first:?}");
}

#[test]
fn every_thread_of_a_server_is_under_its_filter_and_its_template_is_not() {
    let template = Template::start();
    let before = filters(template.pid);
    let server = template.fork(1);
    let [of_template] = before[..] else { panic!("{before:?}") };
    assert_eq!(filters(server.pid), [of_template + FILTERS; 2]);
    assert_eq!(filters(template.pid), before);
    server.infer(REQUEST).ok();
    eventually("no filter is added later", || (filters(server.pid) == [of_template + FILTERS; 2]).then_some(()));
}
