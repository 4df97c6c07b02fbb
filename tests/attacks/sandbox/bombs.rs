//! Class 14: a replica that takes more than it may have. What is measured is the kernel's own word,
//! never a time.

use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::{machine::interface, script::LIMITS};
use dormouse_sandbox::messages::ExitCause;

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { class: 14, name: "a bomb of threads", defence: "ProcessLimit", run: threads },
    Attack { class: 14, name: "a bomb of memory", defence: "MemoryLimit", run: memory },
    Attack { class: 14, name: "a hog of processors", defence: "CpuLimit", run: processor },
    Attack { class: 14, name: "a bomb of descriptors", defence: "DescriptorLimit", run: descriptors },
    Attack { class: 14, name: "a filler of disks", defence: "TmpLimit", run: tmp },
];

const THREADS: u32 = 600;
/// Twice the limit.
const MEMORY_MIB: u64 = 128;
/// Of one processor, which the limit halves.
const PROCESSOR_MS: u32 = 300;
/// Bombs in turn: where others want the processors as well, one alone may never use up what it may have of a period.
const HOGS_MAX: u32 = 10;
const DESCRIPTORS: u32 = 6_000;
const TMP_MIB: u64 = 8;

/// What the bomb got, and how the kernel refused the rest.
fn refused(answer: &str, wanted: u64, errno: &str) -> Outcome {
    match answer.split_once(' ') {
        Some((got, refusal)) if refusal == errno => Outcome::Stopped(format!("{errno} after {got} of {wanted}")),
        None if answer == wanted.to_string() => Outcome::GotThrough(format!("all {wanted}")),
        _ => panic!("{answer}"),
    }
}

fn threads(ground: &Ground) -> Outcome {
    refused(&Stage::ask_one(ground, &format!("bomb threads {THREADS}")), THREADS.into(), "EAGAIN")
}

fn memory(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let replica = stage.replica();
    let answer = stage.ask(&replica, &format!("bomb memory {MEMORY_MIB}"));
    let outcome = if answer.is_empty() {
        let cause = stage.node.exit_cause(&replica);
        assert_eq!(cause, ExitCause::OutOfMemory { limit_bytes: LIMITS.memory.get() });
        Outcome::Stopped(cause.to_string())
    } else {
        Outcome::GotThrough(format!("{answer} MiB of {} are its own", LIMITS.memory.get() >> 20))
    };
    stage.leave();
    outcome
}

fn processor(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let replica = stage.replica();
    let throttled = |stage: &Stage| -> u64 {
        let statistics = interface(&stage.daemon.group(), &replica, ("cpu", "cpu.stat"), "cpu.stat");
        let line = statistics.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
        line.parse().unwrap()
    };
    // Its start is held back as well.
    let before = throttled(&stage);
    let held_back = (1..=HOGS_MAX).find_map(|hogs| {
        stage.ask(&replica, &format!("bomb processor {PROCESSOR_MS}"));
        let times = throttled(&stage) - before;
        (times > 0).then(|| format!("held back {times} times in {} ms of work", hogs * PROCESSOR_MS))
    });
    stage.leave();
    let never = || format!("never held back in {} ms of work", HOGS_MAX * PROCESSOR_MS);
    held_back.map_or_else(|| Outcome::GotThrough(never()), Outcome::Stopped)
}

fn descriptors(ground: &Ground) -> Outcome {
    refused(&Stage::ask_one(ground, &format!("bomb descriptors {DESCRIPTORS}")), DESCRIPTORS.into(), "EMFILE")
}

fn tmp(ground: &Ground) -> Outcome {
    refused(&Stage::ask_one(ground, &format!("bomb tmp {TMP_MIB}")), TMP_MIB, "ENOSPC")
}
