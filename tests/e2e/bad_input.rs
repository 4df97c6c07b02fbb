//! Bad input gets a clear error: one table, a row for each thing that can be wrong.

mod commands;
mod requests;
mod waits;

use dormouse_tests::{Daemon, Endpoint, Response, Round, Script, Told, paths};
use serde_json::json;

use crate::{fake, real};

/// What every row finds: both programs, each with something deployed.
pub(crate) struct Bench {
    /// With endpoints `dynamic`, `bytes` and `half`, and bodies of at most [`BODY_BYTES_MAX`].
    real: Daemon,
    fake: Daemon,
}

const BODY_BYTES_MAX: usize = 64 << 10;

/// What is wrong, and what comes of it.
#[derive(Clone, Copy)]
struct Row {
    wrong: &'static str,
    ask: fn(&Bench) -> Answer,
    expected: Expected,
    /// Each is part of the message: the field, the cause, the place.
    says: &'static [&'static str],
}

enum Answer {
    Http(Response),
    Command(Told),
}

#[derive(Clone, Copy)]
enum Expected {
    Status(u16),
    /// 503, and when to come again.
    ComeAgain,
    /// A command's exit code, with one line.
    Exit(i32),
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self::Http(response)
    }
}

impl From<Told> for Answer {
    fn from(told: Told) -> Self {
        Self::Command(told)
    }
}

impl Row {
    fn check(&self, bench: &Bench) -> Result<(), String> {
        let message = match ((self.ask)(bench), &self.expected) {
            (Answer::Http(answer), Expected::Status(status)) if answer.status == *status => answer.text(),
            (Answer::Http(answer), Expected::ComeAgain) if answer.status == 503 => {
                let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
                if seconds.is_none_or(|seconds| seconds < 1) {
                    return Err(format!("Retry-After: {:?}", answer.header("retry-after")));
                }
                answer.text()
            }
            (Answer::Command(told), Expected::Exit(code)) if told.code == Some(*code) => one_line(&told)?,
            (Answer::Http(answer), _) => return Err(format!("{} {}", answer.status, answer.text())),
            (Answer::Command(told), _) => return Err(format!("exit {:?}\n{}", told.code, told.stderr)),
        };
        match self.says.iter().find(|part| !message.contains(**part)) {
            Some(part) => Err(format!("no word of `{part}` in: {message}")),
            None => Ok(()),
        }
    }
}

/// The line that says why; nothing else that is an error may stand beside it.
fn one_line(told: &Told) -> Result<String, String> {
    let mut lines = told.stderr.lines().filter(|line| line.starts_with("dormouse: "));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line.to_owned()),
        _ => Err(format!("not one line:\n{}", told.stderr)),
    }
}

fn bench() -> Bench {
    let real = real().set("gateway", "body_bytes_max", &BODY_BYTES_MAX.to_string()).start();
    real.deploy("dynamic", &paths::fixture("dynamic.onnx"));
    real.deploy("bytes", &paths::fixture("identity_bytes.onnx"));
    real.deploy("half", &paths::fixture("identity_fp16.onnx"));
    // Its waits end replicas that a deploy asks, by the groups of their names.
    let fake = fake()
        .in_round(Round::Created)
        .endpoint("max_replicas", "1")
        .endpoint("container_concurrency", "1")
        .endpoint("queue_waiters_max", "1")
        .endpoint("timeout", "\"1m\"")
        .start();
    Bench { real, fake }
}

#[test]
fn every_bad_input_gets_a_clear_error() {
    let bench = bench();
    let rows = [requests::ROWS, waits::ROWS, commands::ROWS].concat();
    let mut failures = Vec::new();
    for row in &rows {
        if let Err(found) = row.check(&bench) {
            failures.push(format!("{}\n    {found}", row.wrong));
        }
    }
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));

    // After all of it the real model answers, in the revision that it had.
    let good = json!({ "inputs": [requests::good("a"), requests::good("b")] });
    let answer = Endpoint::of(&bench.real, "dynamic").infer(&good).ok().json();
    assert_eq!((&answer["outputs"][0]["data"], &answer["model_version"]), (&json!([2.0, 4.0]), &json!("1")));
    bench.fake.deploy_fake("after", Script::echo(), &[]).check_echo(1);
}
