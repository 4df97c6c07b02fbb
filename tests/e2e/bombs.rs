//! A replica that takes more than it may have: nobody else notices, whoever called it is told what
//! happened, `status` names the cause, and its endpoint serves again.

mod loading;
mod logs;
mod neighbours;

use std::{fs, os::unix::fs::MetadataExt};

use dormouse_tests::{
    Daemon, Endpoint, Home, Round, Script, processes,
    script::{Bomb, Infer},
    wait::until_true,
};
use rustix::process::{Resource, getrlimit};
use serde_json::json;

use self::neighbours::beside_neighbours;
pub(crate) use self::{loading::*, logs::*};
use crate::fake;

const MEMORY_MIB: usize = 64;
const PIDS: u64 = 64;
const TMP_BYTES: u64 = 8 << 20;
const DESCRIPTORS_MAX: u64 = 4_096;
const DESCRIPTORS_MAX_OF_IMAGE: u64 = 65_536;

fn home(round: Round) -> Home {
    fake()
        .in_round(round)
        .endpoint("memory", &format!("\"{MEMORY_MIB}Mi\""))
        .endpoint("tmp", &format!("\"{}\"", TMP_BYTES))
        .endpoint("pids", &PIDS.to_string())
        .endpoint("max_replicas", "1")
}

/// Sets off what kills its replica, and sees who is told what.
#[track_caller]
fn dies_of(daemon: &Daemon, infer: Infer, causes: &[&str]) {
    let endpoint = daemon.deploy_fake("bomber", Script::echo().infer(infer), &[]);
    beside_neighbours(daemon, || {
        let error = daemon.send(&endpoint.echo_request(1)).error(502);
        assert!(causes.iter().all(|cause| error.contains(cause)), "{error}");
    });
    status_names(&endpoint, causes);
    serves_again(&endpoint);
}

/// For a program and for a person.
#[track_caller]
fn status_names(endpoint: &Endpoint<'_>, causes: &[&str]) {
    let names = |text: &str| causes.iter().all(|cause| text.contains(cause));
    until_true(format!("status names {causes:?}: {}", endpoint.status()), || {
        endpoint.daemon.status(&endpoint.name)["last_failure"].as_str().is_some_and(names)
    });
    let shown = endpoint.daemon.cli(&["status", &endpoint.name]).ok().stdout;
    assert!(names(&shown), "{shown}");
}

#[track_caller]
fn serves_again(endpoint: &Endpoint<'_>) {
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
}

pub(crate) fn of_threads(round: Round) {
    let daemon = home(round).start();
    dies_of(&daemon, Infer::Bomb(Bomb::Threads), &["out of processes", "64 processes and threads", "killed by signal"]);
}

pub(crate) fn of_memory_at_once(round: Round) {
    dies_of(&home(round).start(), Infer::Bomb(Bomb::Memory), &["out of memory", "64 MiB"]);
}

pub(crate) fn of_memory_little_by_little(round: Round) {
    dies_of(&home(round).start(), Infer::Bomb(Bomb::MemorySlowly), &["out of memory", "64 MiB"]);
}

/// What lies in /tmp is memory, and no limit of its own lifts that of memory. Replicas that are forked share
/// the /tmp of their container, in which the product's own can open nothing.
#[test]
fn of_temporary_files_beyond_the_memory() {
    for round in [Round::Created, Round::Claimed] {
        let daemon = home(round).endpoint("tmp", &format!("\"{MEMORY_MIB}Mi\"")).start();
        dies_of(&daemon, Infer::Bomb(Bomb::Tmp), &["out of memory", "64 MiB"]);
    }
}

/// Empty files take no room in /tmp, but memory of the kernel's, which is the replica's too.
pub(crate) fn of_files_without_content(round: Round) {
    let daemon = home(round).start();
    if round != Round::Image {
        return dies_of(&daemon, Infer::Bomb(Bomb::Files), &["out of memory", "64 MiB"]);
    }
    // There, as many as it has pages.
    let endpoint = daemon.deploy_fake("bomber", Script::echo().infer(Infer::Bomb(Bomb::Files)), &[]);
    beside_neighbours(&daemon, || {
        let answer = daemon.send(&endpoint.echo_request(1)).ok().json();
        let files = answer["outputs"][0]["data"][0].as_u64().unwrap();
        assert!((1..TMP_BYTES / 4096).contains(&files), "{files}");
    });
    serves_again(&endpoint);
}

pub(crate) fn a_crash_and_a_kill_are_no_shortage(round: Round) {
    let daemon = home(round).start();
    dies_of(&daemon, Infer::Crash, &["crashed: killed by signal"]);
    dies_of(&daemon, Infer::Exit { code: 9 }, &["exited with status 9"]);
}

pub(crate) fn of_temporary_files_ends_where_they_may_not_grow(round: Round) {
    let daemon = home(round).start();
    let endpoint = daemon.deploy_fake("bomber", Script::echo().infer(Infer::Bomb(Bomb::Tmp)), &[]);
    beside_neighbours(&daemon, || {
        let answer = daemon.send(&endpoint.echo_request(1)).ok().json();
        assert_eq!(answer["outputs"][0]["data"], json!([TMP_BYTES]));
    });
    // There is no other place to write to: what else is mounted writable is root's.
    let pid = endpoint.processes()[0];
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let mut writable: Vec<&str> = mounts.lines().filter_map(writable_mount).collect();
    writable.sort_unstable();
    writable.dedup();
    // Of an image all but /dev is in memory, and as large as /tmp is to be.
    let expected: &[&str] = if round == Round::Image { &["/", "/dev", "/dev/shm"] } else { &["/dev", "/tmp"] };
    assert_eq!(writable, expected, "{mounts}");
    let dev = fs::metadata(format!("/proc/{pid}/root/dev")).unwrap();
    assert_eq!(dev.mode() & 0o022, 0, "only its owner writes to /dev");
    if round == Round::Image {
        // Its root is the owner, and has no more than this.
        assert!(mounts.lines().any(|line| line.contains(" /dev rw") && line.contains("size=64k")), "{mounts}");
    } else {
        assert_ne!(dev.uid(), processes::uid(pid));
    }
    serves_again(&endpoint);
}

/// Where a line of mountinfo says that files can be written. Devices are another matter.
fn writable_mount(line: &str) -> Option<&str> {
    if line.contains(" - devtmpfs ") {
        return None;
    }
    let mut fields = line.split(' ').skip(4);
    let (point, options) = (fields.next()?, fields.next()?);
    options.split(',').any(|option| option == "rw").then_some(point)
}

/// What it holds leaves less room than its model's pages take: they are read anew again and again.
pub(crate) fn of_page_cache_costs_nobody_else(round: Round) {
    const MODEL_BYTES: usize = 96 << 20;
    const ROUNDS: u64 = 3;
    let daemon = home(round).start();
    let bomb = Bomb::PageCache { hold_mebibytes: MEMORY_MIB - 16, rounds: 3 };
    let _ = daemon.try_deploy_fake("bomber", &Script::echo().infer(Infer::Bomb(bomb)), MODEL_BYTES, &[]).ok();
    let endpoint = Endpoint::of(&daemon, "bomber");
    let bytes = forget_pages(&endpoint);
    beside_neighbours(&daemon, || {
        let answer = daemon.send(&endpoint.echo_request(1)).ok().json();
        assert_eq!(answer["outputs"][0]["data"], json!([ROUNDS * bytes]));
    });
    assert_eq!(endpoint.status()["last_failure"], json!(null));
}

/// Pages of the stored model are charged to whoever reads them next. Tells how many bytes it has.
fn forget_pages(endpoint: &Endpoint<'_>) -> u64 {
    let file = fs::File::open(endpoint.script_directory().join("model.onnx")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    file.metadata().unwrap().len()
}

pub(crate) fn of_descriptors(round: Round) {
    let daemon = home(round).start();
    let emfile = rustix::io::Errno::MFILE.raw_os_error();
    dies_of(&daemon, Infer::Bomb(Bomb::Descriptors), &[&format!("exited with status {emfile}")]);
    let logged = daemon.cli(&["logs", "bomber"]).ok().stdout;
    let line = logged.lines().find(|line| line.contains("no descriptor after")).expect("it said so");
    let eaten: u64 = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
    let max = match round {
        Round::Created | Round::Claimed | Round::Forked => DESCRIPTORS_MAX,
        // As far as this machine allows the daemon to give them.
        Round::Image => getrlimit(Resource::Nofile)
            .maximum
            .map_or(DESCRIPTORS_MAX_OF_IMAGE, |ours| ours.min(DESCRIPTORS_MAX_OF_IMAGE)),
    };
    assert!((max - 64..max).contains(&eaten), "{line}");
}

pub(crate) fn of_processor_time_is_replaced(round: Round) {
    never_answers(round, Infer::Bomb(Bomb::Spin));
}

pub(crate) fn one_that_stands_still_is_replaced(round: Round) {
    never_answers(round, Infer::Bomb(Bomb::Stall));
}

pub(crate) fn one_that_takes_connections_and_reads_nothing_is_replaced(round: Round) {
    never_answers(round, Infer::Deaf);
}

fn never_answers(round: Round, infer: Infer) {
    let daemon = home(round).endpoint("timeout", "\"2s\"").start();
    let endpoint = daemon.deploy_fake("bomber", Script::echo(), &[]);
    endpoint.check_echo(1);
    endpoint.play(Script::echo().infer(infer));
    beside_neighbours(&daemon, || is_replaced(round, &endpoint));
}

/// Its caller is told at the deadline, and the next one gets another replica.
#[track_caller]
fn is_replaced(round: Round, endpoint: &Endpoint<'_>) {
    let daemon = endpoint.daemon;
    let first = endpoint.replicas().remove(0).id;
    // A connection that was kept would still be read.
    let error = until_refused(endpoint);
    assert!(error.contains(round.late()), "{error}");
    // An image is asked what its manifest says, and nothing where it says nothing.
    let seen = if round == Round::Image { "liveness probe: " } else { "answered nothing any more and was killed" };
    status_names(endpoint, &[seen]);
    endpoint.play(Script::echo());
    until_true("another replica serves", || daemon.send(&endpoint.echo_request(3)).status == 200);
    // From a template another one serves before the first is gone.
    until_true("the first is gone", || endpoint.replicas().iter().all(|replica| replica.id != first));
    assert_eq!(endpoint.replicas().len(), 1);
}

/// What one of several callers at a time is told who finds no connection kept.
fn until_refused(endpoint: &Endpoint<'_>) -> String {
    dormouse_tests::wait::until("a request is not answered in time", || {
        let answer = endpoint.daemon.send(&endpoint.echo_request(2));
        (answer.status == 504).then(|| answer.error(504))
    })
}
