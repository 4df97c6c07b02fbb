//! Class 8: control groups and /sys, as seen from a container; and what of the daemon is in it.

use dormouse_attacks::{Attack, Ground, Outcome, Replicas};
use dormouse_driver::images::{archive, web, with};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { class: 8, name: "find neighbours in /sys", defence: "NoHostSysfs", run: find_neighbours },
    Attack {
        class: 8,
        name: "look into what runs a container's probes",
        defence: "RunnerOutOfReach",
        run: |ground| look_into_runner(&Ground { replicas: Replicas::Created, ..ground.clone() }),
    },
];

fn find_neighbours(ground: &Ground) -> Outcome {
    let found = Stage::ask_one(ground, "find /sys dormouse-");
    if found.is_empty() {
        Outcome::Stopped("/sys is empty".to_owned())
    } else {
        Outcome::GotThrough(format!("found {}", found.replace(|c: char| c.is_ascii_digit(), "0")))
    }
}

/// It is a copy of the daemon's privileged half. Where that lies in memory tells where it lies in every other copy.
fn look_into_runner(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let data = stage.daemon.settings.data.clone();
    let layer = stage.node.unpack_image(&data, archive());
    let spec = with(web("curious", 1, &[layer]), |payload| payload.commands = vec![vec!["true".to_owned()]]);
    stage.node.start_image(&spec);
    let look =
        "for p in /proc/[0-9]*; do case $(cat $p/comm) in dormouse-probe) echo found; cat $p/maps;; esac; done 2>&1";
    let seen = stage.node.run_in(&spec.replica, look);
    stage.leave();
    assert!(seen.starts_with("found"), "{seen}");
    if seen.contains("[stack]") {
        Outcome::GotThrough("the map of its memory can be read".to_owned())
    } else {
        Outcome::Stopped("the map of its memory is not the container's to read".to_owned())
    }
}
