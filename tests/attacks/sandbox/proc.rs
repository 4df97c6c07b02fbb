//! What /proc tells of the machine (class 4), a /proc that is not the kernel's (class 5), and what can
//! be set there.

use std::path::Path;

use dormouse_attacks::{Attack, Ground, Outcome, Replicas};

use crate::stage::{Stage, WEAKENED};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { class: 4, name: "read masked files of /proc", defence: "MaskedPaths", run: read_masked },
    Attack { class: 5, name: "redirect /proc", defence: "RealProc", run: redirect },
    Attack { class: 14, name: "set what /proc lets a process set of itself", defence: "ReadOnlyProc", run: set_own },
];

/// Those that an unprivileged process could read if they were not covered.
const MASKED: [&str; 6] =
    ["/proc/interrupts", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list", "/proc/kcore"];

fn read_masked(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let replica = stage.replica();
    let told = MASKED.iter().filter(|path| Path::new(path).exists()).find_map(|path| {
        let text = stage.ask(&replica, &format!("read {path}"));
        // A covered file is empty; `EACCES` and the like are no content.
        (!text.is_empty() && !text.starts_with('E')).then(|| format!("{} bytes of {path}", text.len()))
    });
    // A cover that is somebody else's file would be one that can be written to.
    let covers = stage.ask(&replica, "read /proc/self/mountinfo");
    let is_covered = covers.lines().any(|line| line.contains(" /proc/interrupts ") && line.contains("null"));
    stage.leave();
    match told {
        Some(told) => Outcome::GotThrough(format!("read {told}")),
        None if is_covered => Outcome::Stopped("covered by the null device, nothing to read".to_owned()),
        None => Outcome::GotThrough("they are not covered by the null device".to_owned()),
    }
}

/// Nobody can do this to the product, so it is done by the build that can lack a defence, in both
/// cases: what libcontainer mounts at /proc is a file system that the attacker could fill. The
/// defence is the product's own.
fn redirect(ground: &Ground) -> Outcome {
    // A blank is made by the same steps; here none would ever be.
    let ground = Ground { program: WEAKENED.into(), replicas: Replicas::Created, ..ground.clone() };
    let mut stage = Stage::enter(&ground.with("DORMOUSE_REDIRECTED_PROC", "1"));
    let outcome = match stage.try_replica() {
        Err(cause) => {
            let cause = cause.to_string();
            assert!(cause.contains("no procfs"), "{cause}");
            Outcome::Stopped("the container is not released: its /proc is no procfs".to_owned())
        }
        Ok(replica) => {
            let listed = stage.ask(&replica, "list /proc");
            Outcome::GotThrough(format!("a payload runs with /proc holding `{listed}`"))
        }
    };
    stage.leave();
    outcome
}

/// The kernel ends whoever scores highest when memory is short. Replicas are given a high score, so
/// that the daemon lives; a process may lower its own where its parent could not raise limits. The
/// other file is there for kernels and parents with which it may not.
const OWN: [&str; 2] = ["/proc/self/oom_score_adj 0", "/proc/self/coredump_filter 0x7f"];

fn set_own(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let replica = stage.replica();
    let set = OWN.iter().find(|set| stage.ask(&replica, &format!("overwrite {set}")) == "ok");
    let score = stage.ask(&replica, "read /proc/self/oom_score_adj").trim().to_owned();
    stage.leave();
    match set {
        None => Outcome::Stopped(format!("nothing can be set, the score for shortages is still {score}")),
        Some(set) => Outcome::GotThrough(format!("set {set}, the score for shortages is {score}")),
    }
}
