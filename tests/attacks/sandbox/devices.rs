//! Class 13: a device that is there and not allowed.

use dormouse_attacks::{Attack, Ground, Outcome};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] =
    &[Attack { class: 13, name: "open a device that is not allowed", defence: "DevicePolicy", run: open }];

/// Everybody may open the terminal by its mode. Where nothing denies it the driver answers, which
/// finds no terminal; where the policy does, nobody is asked.
fn open(ground: &Ground) -> Outcome {
    match Stage::ask_one(ground, "open /dev/tty").as_str() {
        "EPERM" => Outcome::Stopped("EPERM, from the device policy".to_owned()),
        answer => Outcome::GotThrough(format!("{answer}, from the device's driver")),
    }
}
