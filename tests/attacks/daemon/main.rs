//! Attacks on the daemon's two interfaces: the gateway, and the admin socket.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod bodies;
mod framing;
mod heads;
mod http2;
mod naive;
mod names;
mod output;
mod slow;
mod target;
mod tensors;

use std::process::ExitCode;

use dormouse_attacks::{Attack, suite};
use dormouse_driver::daemon;

/// Resources.
const RESOURCES: u8 = 14;
/// The gateway.
const GATEWAY: u8 = 15;
/// The control API.
const ADMIN: u8 = 16;

const fn attack(
    class: u8,
    name: &'static str,
    defence: &'static str,
    run: fn(&dormouse_attacks::Ground) -> dormouse_attacks::Outcome,
) -> Attack {
    Attack { class, name, defence, run }
}

const ATTACKS: &[Attack] = &[
    attack(RESOURCES, "a flood of output", "LogLimit", output::flood),
    attack(GATEWAY, "idle connections take every place", "PlacesGivenUp", slow::idle_connections),
    attack(GATEWAY, "heads that come a byte at a time take every place", "PlacesGivenUp", slow::slow_heads),
    attack(GATEWAY, "small bodies that stop take every place of a replica", "BodyReadAhead", slow::small_bodies),
    attack(GATEWAY, "heads without bodies wake a replica again and again", "HeadsDoubted", slow::only_heads),
    attack(GATEWAY, "large bodies that stop take every place of a replica", "BodyPace", slow::large_bodies),
    attack(GATEWAY, "answers that are not read take every place of a replica", "AnswerPace", slow::unread_answers),
    attack(GATEWAY, "a window that stays shut takes a replica", "AnswerPace", http2::shut_window),
    attack(GATEWAY, "endless heads", "HeadLimit", heads::endless),
    attack(GATEWAY, "thousands of headers", "HeadLimit", heads::many),
    attack(GATEWAY, "endless CONTINUATION", "HeadLimit", http2::continuation),
    attack(GATEWAY, "rapid reset", "StreamLimit", http2::rapid_reset),
    attack(GATEWAY, "streams without number", "StreamLimit", http2::streams),
    attack(GATEWAY, "pings whose answers are not read", naive::DEFENCE, http2::pings),
    attack(GATEWAY, "a request hidden in another's body", naive::DEFENCE, framing::smuggled),
    attack(GATEWAY, "bodies over the limit", "BodyLimit", bodies::over_the_limit),
    attack(GATEWAY, "bodies that inflate over the limit", "InflateLimit", bodies::bombs),
    attack(GATEWAY, "shapes that overflow or are negative", "ShapesChecked", tensors::shapes),
    attack(GATEWAY, "sizes and lengths that lie", "SizesChecked", tensors::sizes),
    attack(GATEWAY, "numbers that the type does not have", "NumbersChecked", tensors::numbers),
    attack(GATEWAY, "an input given twice", "InputsOnce", tensors::twice),
    attack(GATEWAY, "JSON a million levels deep", "DepthLimit", tensors::deep),
    attack(GATEWAY, "errors as long as the request", "ShortErrors", tensors::long_names),
    attack(GATEWAY, "paths in names", "NamesLookedUp", names::as_paths),
    attack(ADMIN, "users who may not administer", "PeerAsked", admin::strangers),
    attack(ADMIN, "a descriptor that can only point at a file", "CallerOpens", admin::pointers),
    attack(ADMIN, "descriptors without number", "DescriptorLimit", admin::descriptors),
    attack(ADMIN, "a document over the limit", "DocumentLimit", admin::document),
];

fn main() -> ExitCode {
    if let Some(missing) = daemon::missing() {
        eprintln!("attacks: {missing}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let defended = suite::Defended::Program(env!("CARGO_BIN_EXE_daemon-defended"));
    suite::run(ATTACKS, &arguments, defended, env!("CARGO_BIN_EXE_daemon-weakened"))
}
