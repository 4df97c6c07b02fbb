//! The kernel as a payload can reach it: every number tried, through every entrance.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_driver::{
    Daemon, Node, daemon,
    script::{read_log, replica_of},
};
use dormouse_sandbox::messages::{ExitCause, ReplicaId};
use libseccomp::ScmpSyscall;
use nix::libc;
use serde_json::Value;

const LIST: &str = include_str!("../../../../configs/seccomp/worker.json");
/// What a container of a template may call besides. The stand-in's servers put on filters that allow everything.
const OF_TEMPLATES: &str = include_str!("../../../../configs/seccomp/template.json");
/// Beyond every number that a kernel has, by far.
const NUMBERS: std::ops::Range<i32> = 0..1_024;
const CALLS_MAX: usize = 60;
/// Entries of the printed table in one line.
const COLUMNS: usize = 4;
/// Recent kernels let these past every filter: the way out of a breakpoint that root has set from
/// outside. Called from anywhere else they do nothing, or end the process.
const UNFILTERED: &[(i32, &str)] =
    if cfg!(target_arch = "x86_64") { &[(335, "uretprobe"), (336, "uprobe")] } else { &[] };
/// Marks a number of the x32 interface.
const X32: i32 = 0x4000_0000;

/// A daemon, and replicas that are asked for something and may die of it.
struct Payloads {
    daemon: Daemon,
    node: Node,
    serial: u64,
}

impl Payloads {
    fn new() -> Self {
        let mut daemon = Daemon::start();
        let node = daemon.node();
        Self { daemon, node, serial: 0 }
    }

    fn start(&mut self) -> (ReplicaId, std::os::fd::OwnedFd) {
        self.serial += 1;
        let spec = replica_of("plain", self.serial);
        let started = self.node.start(&spec);
        (spec.replica, started.log)
    }

    /// What a replica of its own answers, or what it dies of and what it logged.
    fn alone(&mut self, command: &str) -> Result<String, (ExitCause, String)> {
        let (replica, log) = self.start();
        let told = self.node.call(&replica, command);
        if told.is_empty() { Err((self.node.exit_cause(&replica), read_log(log))) } else { Ok(told) }
    }

    fn death_by(&mut self, command: &str) -> (ExitCause, String) {
        self.alone(command).expect_err("nobody survives that")
    }

    fn end(self) {
        self.daemon.end(self.node);
    }
}

/// What the lists of a container say, for this architecture.
struct Listed {
    allowed: BTreeSet<String>,
    killed: BTreeSet<String>,
}

impl Listed {
    fn read() -> Self {
        let lists = if daemon::is_forked() { vec![LIST, OF_TEMPLATES] } else { vec![LIST] };
        let lists: Vec<Value> = lists.into_iter().map(|list| serde_json::from_str(list).unwrap()).collect();
        let foreign = if cfg!(target_arch = "aarch64") { "x86-64" } else { "arm64" };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = |of: &'static str| lists.iter().flat_map(move |list| list[of].as_array()).flatten();
        let allowed = entries("allowed").filter(|call| call["only"] != foreign);
        let killed = entries("killed");
        Self {
            allowed: allowed.map(|call| text(&call["name"])).collect(),
            killed: killed.flat_map(|group| group["names"].as_array().unwrap().iter().map(text)).collect(),
        }
    }
}

fn number(name: &str) -> i32 {
    let number = ScmpSyscall::from_name(name).map(i32::from).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(number >= 0, "{name} is no call of this architecture");
    number
}

/// Names are the library's, which may not know the newest.
fn name(number: i32) -> Option<String> {
    let unfiltered = UNFILTERED.iter().find(|(known, _)| *known == number);
    if let Some((_, name)) = unfiltered {
        return Some((*name).to_owned());
    }
    ScmpSyscall::from(number).get_name().ok()
}

/// How a number is tried so that whoever tries it goes on living: with arguments that let it past
/// the filter where a condition is to be met, and that the kernel refuses. Everything else is given
/// arguments that are valid for no call.
fn arguments(name: &str) -> &'static str {
    match name {
        "fcntl" => " -1 1",           // F_GETFD
        "futex" => " -1 1",           // FUTEX_WAKE
        "ioctl" => " -1 21537",       // FIONBIO
        "madvise" => " -1 -1 4",      // MADV_DONTNEED
        "mmap" => " 0 0 0 0",         // of no length
        "mprotect" => " -1 -1 0",     // PROT_NONE
        "mremap" => " -1 -1 -1 1",    // MREMAP_MAYMOVE
        "prctl" => " 15 -1",          // PR_SET_NAME
        "prlimit64" => " 0 -1 0 -1",  // of no resource
        "seccomp" => " 1 1 -1",       // SECCOMP_SET_MODE_FILTER, with SECCOMP_FILTER_FLAG_TSYNC
        "socketpair" => " 1 1 -1 -1", // AF_UNIX, SOCK_STREAM, of no protocol
        _ => "",
    }
}

/// These end, or start, more than a call, so each is tried in a replica of its own.
const TRIED_ALONE: [&str; 4] = ["clone", "exit", "exit_group", "rt_sigreturn"];

pub(crate) fn exactly_the_list_is_reachable() {
    let listed = Listed::read();
    let mut payloads = Payloads::new();
    let mut answers: BTreeMap<i32, String> = BTreeMap::new();

    let (replica, log) = payloads.start();
    let is_alone = |name: &str| {
        let unfiltered = UNFILTERED.iter().any(|(_, known)| *known == name);
        unfiltered || TRIED_ALONE.contains(&name) || listed.killed.contains(name)
    };
    let together: Vec<i32> = NUMBERS.filter(|number| !name(*number).is_some_and(|name| is_alone(&name))).collect();
    let calls: Vec<String> =
        together.iter().map(|number| format!("{number}{}", arguments(&name(*number).unwrap_or_default()))).collect();
    let told = payloads.node.call(&replica, &format!("system-calls {}", calls.join(",")));
    let told: Vec<&str> = told.split(',').collect();
    if told.len() != together.len() {
        panic!("{} and {}", payloads.node.exit_cause(&replica), read_log(log));
    }
    answers.extend(together.into_iter().zip(told.into_iter().map(str::to_owned)));

    assert_eq!(payloads.node.call(&replica, "thread"), "ok");
    answers.insert(number("clone"), "ok".to_owned());
    for call in ["exit", "exit_group", "rt_sigreturn"] {
        let (cause, _) = payloads.death_by(&format!("system-call {} 7", number(call)));
        let returns_to_nowhere = matches!(cause, ExitCause::Signal { signal } if signal != libc::SIGSYS);
        let ended = if call == "rt_sigreturn" { returns_to_nowhere } else { cause == ExitCause::Code { code: 7 } };
        assert!(ended, "{call}: {cause}");
        answers.insert(number(call), "ends".to_owned());
    }
    for (number, name) in UNFILTERED {
        let answer = match payloads.alone(&format!("system-call {number}")) {
            Ok(answer) => answer,
            Err((cause, _)) if cause == (ExitCause::Signal { signal: libc::SIGILL }) => "SIGILL".to_owned(),
            Err((cause, _)) => panic!("{name}: {cause}"),
        };
        assert!(["ENOSYS", "ENXIO", "SIGILL"].contains(&answer.as_str()), "{name}: {answer}");
        answers.insert(*number, answer);
    }
    for call in &listed.killed {
        let (cause, _) = payloads.death_by(&format!("system-call {}", number(call)));
        assert_eq!(cause, ExitCause::Signal { signal: libc::SIGSYS }, "{call}");
        answers.insert(number(call), "killed".to_owned());
    }
    payloads.end();

    print(&answers);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), NUMBERS.collect::<Vec<_>>(), "every number is tried");
    let reached = |answer: &&String| !["ENOSYS", "killed"].contains(&answer.as_str());
    let reachable: BTreeSet<String> = answers
        .iter()
        .filter(|(number, answer)| reached(answer) && !UNFILTERED.iter().any(|(known, _)| known == *number))
        .map(|(number, _)| name(*number).unwrap_or_else(|| number.to_string()))
        .collect();
    assert_eq!(reachable, listed.allowed);
    assert!(reachable.len() <= CALLS_MAX, "{}", reachable.len());
}

/// Number, name and answer of all that has a name or an answer.
fn print(answers: &BTreeMap<i32, String>) {
    let told: Vec<String> = answers
        .iter()
        .filter_map(|(number, answer)| {
            let name = name(*number).or_else(|| (answer != "ENOSYS").then(|| "?".to_owned()))?;
            Some(format!("{number:>4} {name:<24} {answer:<7}"))
        })
        .collect();
    println!();
    told.chunks(COLUMNS).for_each(|line| println!("{}", line.join(" ").trim_end()));
    let count = |what: &str| answers.values().filter(|answer| *answer == what).count();
    let (missing, killed) = (count("ENOSYS"), count("killed"));
    let unfiltered = UNFILTERED.iter().filter(|(number, _)| answers[number] != "ENOSYS").count();
    let reachable = answers.len() - missing - killed - unfiltered;
    println!(
        "of {} numbers {reachable} are reachable, {unfiltered} no filter sees, {killed} kill, {missing} answer ENOSYS",
        answers.len()
    );
}

pub(crate) fn what_opens_the_kernel_is_out_of_reach() {
    let mut payloads = Payloads::new();
    let (replica, _log) = payloads.start();
    for name in [
        "socket",
        "connect",
        "bind",
        "clone3",
        "fork",
        "vfork",
        "execveat",
        "perf_event_open",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "splice",
        "tee",
        "vmsplice",
        "kill",
        "tgkill",
        "seccomp",
        "personality",
        "memfd_create",
        "mknodat",
        "fchmodat",
        "pwrite64",
        "lseek",
    ] {
        let Ok(number) = ScmpSyscall::from_name(name).map(i32::from) else { panic!("no call is named {name}") };
        // arm64 has no number for some, and what has none cannot be called.
        if number >= 0 {
            assert_eq!(payloads.node.call(&replica, &format!("system-call {number}")), "ENOSYS", "{name}");
        }
    }
    payloads.end();
    let killed = Listed::read().killed;
    for name in ["bpf", "ptrace", "mount", "unshare", "setns", "keyctl", "userfaultfd", "process_vm_writev"] {
        assert!(killed.contains(name), "{name}");
    }
}

pub(crate) fn conditions_are_kept() {
    let mut payloads = Payloads::new();
    let (replica, _log) = payloads.start();
    let call = |number: libc::c_long, arguments: &[i64]| {
        let arguments: String = arguments.iter().map(|argument| format!(" {argument}")).collect();
        payloads.node.call(&replica, &format!("system-call {number}{arguments}"))
    };
    let refused = |what: &str, number: libc::c_long, arguments: &[i64]| {
        assert_eq!(call(number, arguments), "ENOSYS", "{what}");
    };
    let allowed = |what: &str, number: libc::c_long, arguments: &[i64]| {
        assert_ne!(call(number, arguments), "ENOSYS", "{what}");
    };

    for request in [libc::TIOCSTI, libc::TIOCGWINSZ, libc::FIOCLEX, libc::TIOCSCTTY] {
        refused("ioctl", libc::SYS_ioctl, &[-1, request.cast_signed()]);
    }
    let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    refused("a fork", libc::SYS_clone, &[libc::SIGCHLD.into()]);
    refused("a fork that shares memory", libc::SYS_clone, &[(libc::CLONE_VM | libc::CLONE_VFORK).into()]);
    for missing in [libc::CLONE_VM, libc::CLONE_FS, libc::CLONE_FILES, libc::CLONE_SIGHAND, libc::CLONE_THREAD] {
        refused("a thread that is half a process", libc::SYS_clone, &[(thread & !missing).into()]);
    }
    for more in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_PTRACE,
        libc::CLONE_PARENT,
        libc::CLONE_PIDFD,
    ] {
        refused("a thread with a flag", libc::SYS_clone, &[(thread | more).into()]);
        refused("a process with a flag", libc::SYS_clone, &[more.into()]);
    }

    let (write, execute) = (libc::PROT_WRITE, libc::PROT_EXEC);
    let (anonymous, private) = (libc::MAP_ANONYMOUS, libc::MAP_PRIVATE);
    let map = |protection: i32, flags: i32| [0, 4096, protection.into(), flags.into()];
    refused("memory to write and execute", libc::SYS_mmap, &map(write | execute, anonymous | private));
    refused("memory to execute", libc::SYS_mmap, &map(execute, anonymous | private));
    refused("a file to write and execute", libc::SYS_mmap, &map(write | execute, private));
    allowed("a file to execute", libc::SYS_mmap, &map(execute, private));
    for protection in [execute, libc::PROT_READ | execute, write | execute] {
        refused("memory that becomes executable", libc::SYS_mprotect, &[-1, 4096, protection.into()]);
    }
    refused("a mapping moved to a place", libc::SYS_mremap, &[-1, 4096, 4096, libc::MREMAP_FIXED.into()]);
    refused("memory given back elsewise", libc::SYS_madvise, &[-1, 4096, libc::MADV_PAGEOUT.into()]);
    refused("a limit set", libc::SYS_prlimit64, &[0, 7, 1]);
    refused("a limit of another", libc::SYS_prlimit64, &[1, 7, 0]);
    refused("a netlink socket pair", libc::SYS_socketpair, &[libc::AF_NETLINK.into(), libc::SOCK_STREAM.into()]);
    refused("a datagram socket pair", libc::SYS_socketpair, &[libc::AF_UNIX.into(), libc::SOCK_DGRAM.into()]);
    for option in [libc::PR_SET_DUMPABLE, libc::PR_SET_SECCOMP, libc::PR_SET_MM, libc::PR_SET_CHILD_SUBREAPER] {
        refused("prctl", libc::SYS_prctl, &[option.into()]);
    }
    for command in [libc::F_SETLK, libc::F_SETOWN, libc::F_SETPIPE_SZ, libc::F_SETLEASE, libc::F_NOTIFY] {
        refused("fcntl", libc::SYS_fcntl, &[-1, command.into()]);
    }
    for operation in [libc::FUTEX_LOCK_PI, libc::FUTEX_CMP_REQUEUE_PI, libc::FUTEX_WAIT_REQUEUE_PI] {
        refused("futex", libc::SYS_futex, &[-1, (operation | libc::FUTEX_PRIVATE_FLAG).into()]);
    }
    payloads.end();
}

/// Its own memory is a file too; what is in it could be rewritten past every protection.
pub(crate) fn code_cannot_be_written_through_proc() {
    let mut payloads = Payloads::new();
    let (replica, _log) = payloads.start();
    assert_eq!(payloads.node.call(&replica, "open /proc/self/mem"), "EROFS");
    assert_eq!(payloads.node.call(&replica, "rewrite-own-code"), "EROFS");
    payloads.end();
}

/// A 64-bit kernel has entrances for older programs, with numbers of their own. On arm64 there are
/// none: a 64-bit process cannot turn into one of 32 bits.
pub(crate) fn other_entrances_are_closed() {
    let mut payloads = Payloads::new();
    if cfg!(target_arch = "x86_64") {
        for call in ["getpid", "read", "mmap"] {
            let (cause, _) = payloads.death_by(&format!("system-call {}", number(call) | X32));
            assert_eq!(cause, ExitCause::Signal { signal: libc::SIGSYS }, "x32 {call}");
        }
        let (cause, log) = payloads.death_by("interrupt-80");
        // A kernel without the entrance answers with a fault.
        let closed = [libc::SIGSYS, libc::SIGSEGV].map(|signal| ExitCause::Signal { signal });
        assert!(closed.contains(&cause), "{cause}: {log}");
    }
    payloads.end();
}

/// A worker that gives up needs no call that is missing to do so.
pub(crate) fn a_process_can_end_itself() {
    let mut payloads = Payloads::new();
    let (cause, log) = payloads.death_by("panic");
    assert!(cause == ExitCause::Code { code: 101 } && log.contains("told to panic"), "{cause}: {log}");
    for (command, says) in [("abort", ""), ("overflow-stack", "has overflowed its stack")] {
        let (cause, log) = payloads.death_by(command);
        let ExitCause::Signal { signal } = cause else { panic!("{command}: {cause}") };
        // The first process of a namespace ignores a SIGABRT of its own; the C library goes on to a
        // fault, which nobody can ignore.
        assert!([libc::SIGABRT, libc::SIGSEGV, libc::SIGILL, libc::SIGTRAP].contains(&signal), "{command}: {signal}");
        assert!(log.contains(says), "{command}: {log}");
    }
    payloads.end();
}
