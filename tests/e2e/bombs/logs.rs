//! Output without end, and output that would drive the terminal it is shown on.

use std::fs;

use dormouse_tests::{
    Round, Script,
    script::{Bomb, Flood, Infer},
    wait::until_true,
};

use super::{home, neighbours::beside_neighbours};

/// More than two files hold.
const FLOOD_MIB: usize = 2;
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn of_lines_is_capped(round: Round) {
    is_capped(round, Flood::Lines);
}

pub(crate) fn of_one_endless_line_is_capped(round: Round) {
    is_capped(round, Flood::Endless);
}

pub(crate) fn of_every_byte_is_capped(round: Round) {
    is_capped(round, Flood::Binary);
}

pub(crate) fn of_escapes_drives_no_terminal(round: Round) {
    let shown = is_capped(round, Flood::Escapes);
    assert!(shown.contains("\\u{1b}]0;owned\\u{7}") && shown.contains("fake prompt#"), "{}", &shown[..1000]);
}

/// Floods a log and returns what `dormouse logs` prints.
fn is_capped(round: Round, flood: Flood) -> String {
    let daemon = home(round).start();
    let script = Script::echo().infer(Infer::Bomb(Bomb::Log { flood, mebibytes: FLOOD_MIB }));
    let endpoint = daemon.deploy_fake("bomber", script, &[]);
    beside_neighbours(&daemon, || drop(daemon.send(&endpoint.echo_request(1)).ok()));
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
    let id = endpoint.replicas().remove(0).id;
    let logs = daemon.home().run().join("logs");
    for file in [format!("{id}.log"), format!("{id}.log.1")] {
        let bytes = fs::metadata(logs.join(&file)).map_or(0, |file| file.len());
        assert!(bytes <= FILE_BYTES_MAX, "{file} has {bytes} bytes");
    }
    let shown = daemon.cli(&["logs", "bomber"]).ok().stdout;
    if flood != Flood::Endless {
        until_true("all of it came through", || logs.join(format!("{id}.log.1")).exists());
    }
    let acts = |character: &char| character.is_control() && !"\n\t".contains(*character);
    assert_eq!(shown.chars().find(acts), None, "a terminal would obey");
    let kept = fs::read(logs.join(format!("{id}.log"))).unwrap();
    assert_eq!(String::from_utf8(kept).expect("text").chars().find(acts), None);
    shown
}
