//! Class 8: control groups and /sys, as seen from a container.

use dormouse_attacks::{Attack, Ground, Outcome};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] =
    &[Attack { class: 8, name: "find neighbours in /sys", defence: "NoHostSysfs", run: find_neighbours }];

fn find_neighbours(ground: &Ground) -> Outcome {
    let found = Stage::ask_one(ground, "find /sys dormouse-");
    if found.is_empty() {
        Outcome::Stopped("/sys is empty".to_owned())
    } else {
        Outcome::GotThrough(format!("found {}", found.replace(|c: char| c.is_ascii_digit(), "0")))
    }
}
