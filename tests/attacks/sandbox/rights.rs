//! Class 6: capabilities and the user.

use dormouse_attacks::{Attack, Ground, Outcome};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[Attack {
    class: 6,
    name: "write where only the container's root may",
    defence: "NoCapabilities",
    run: override_modes,
}];

fn override_modes(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let replica = stage.replica();
    let answer = stage.ask(&replica, "create /dev/planted");
    let status = stage.ask(&replica, "read /proc/self/status");
    stage.leave();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim().to_owned();
    if answer == "ok" {
        Outcome::GotThrough(format!("made a file of /dev with capabilities {effective}"))
    } else {
        Outcome::Stopped(format!("{answer}, capabilities {effective}"))
    }
}
