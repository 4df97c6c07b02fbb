//! What replicas print: kept after they end, capped, and shown.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
};

use dormouse_tests::{
    Round,
    script::{Infer, Script},
};

use crate::fake;

const FILE_BYTES_MAX: usize = 64 << 10;
const LINE_BYTES: usize = 1 << 10;

pub(crate) fn a_log_outlives_its_replica_and_is_capped(round: Round) {
    let daemon = fake()
        .in_round(round)
        .set("endpoint.logs", "file_bytes_max", &FILE_BYTES_MAX.to_string())
        .endpoint("freeze_after", "\"1ms\"")
        .endpoint("zero_after", "\"2ms\"")
        .start();
    let lines = 4 * FILE_BYTES_MAX / LINE_BYTES;
    let script = Script::echo().infer(Infer::Print { lines, bytes: LINE_BYTES });
    let endpoint = daemon.deploy_fake("a", script, &[]);
    endpoint.check_echo(1);
    endpoint.until_phases(&[]);

    let last = format!("{:0width$}", lines - 1, width = LINE_BYTES);
    let first = format!("{:0width$}", 0, width = LINE_BYTES);
    let logged = dormouse_tests::wait::until("the last line is written down", || {
        let logged = daemon.cli(&["logs", "a"]).ok().stdout;
        logged.contains(&last).then_some(logged)
    });
    assert!(!logged.contains(&first), "the oldest lines made room");
    // Two files of the replica that answered, two of the one that was asked at the deploy.
    assert!(logged.len() <= 4 * FILE_BYTES_MAX, "{} bytes", logged.len());
}

pub(crate) fn a_log_can_be_followed(round: Round) {
    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("a", Script::echo().infer(Infer::Print { lines: 1, bytes: 9 }), &[]);
    let mut following = daemon.command(&["logs", "a", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut until_line = |wanted: &str| {
        lines.find(|line| line.as_ref().unwrap().contains(wanted)).unwrap_or_else(|| panic!("no {wanted}")).unwrap()
    };
    until_line("fake replica of a, version 1");
    endpoint.check_echo(1);
    until_line("000000000");
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn lines_are_shown_with_their_times_and_chosen_by_them() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("a", Script::echo().infer(Infer::Print { lines: 3, bytes: 9 }), &[]);
    endpoint.check_echo(1);
    let lines = |arguments: &[&str]| -> Vec<String> {
        let told = daemon.cli(&[&["logs", "a"], arguments].concat()).ok().stdout;
        told.lines().map(str::to_owned).collect()
    };
    dormouse_tests::wait::until_true("all is written down", || lines(&[]).iter().any(|it| it.ends_with(" 000000002")));
    let plain = lines(&[]);
    let timed = lines(&["--timestamps", "--since", "1h"]);
    assert_eq!(plain.len(), timed.len());
    for (plain, timed) in plain.iter().zip(&timed) {
        let words: Vec<&str> = timed.splitn(3, ' ').collect();
        assert_eq!(format!("{} {}", words[0], words[2]), *plain);
        assert!(words[1].len() == 30 && words[1].starts_with("20") && words[1].ends_with('Z'), "{timed}");
    }
    let (last, replica) = (lines(&["--tail", "1"]), |line: &String| line.split(' ').next().unwrap().to_owned());
    let replicas: BTreeSet<String> = plain.iter().map(replica).collect();
    assert_eq!((last.len(), last.last()), (replicas.len(), plain.last()), "one of each replica: {last:?}");
    assert!(daemon.cli(&["logs", "a", "--tail", "0"]).code == Some(2));
}

#[test]
fn there_is_no_log_of_what_is_not_there() {
    let daemon = fake().start();
    assert!(daemon.cli(&["logs", "nobody"]).failed(1).contains("`nobody`"));
}
