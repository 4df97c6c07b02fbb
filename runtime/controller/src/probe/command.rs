//! A look by a command that is run in the container.

use std::time::Duration;

use dormouse_sandbox::commands::{Outcome, Report};
use dormouse_spec::printable;
use tokio::time::timeout;

use super::ProbeFailure;
use crate::{Inside, OrderError};

/// How much longer than the command what runs it may take to tell.
const TELLING_MAX: Duration = Duration::from_secs(1);
/// Of a command, and of what it printed, where that is told, in characters.
const COMMAND_SHOWN_MAX: usize = 80;
const OUTPUT_SHOWN_MAX: usize = 200;

pub(super) async fn run(inside: &Inside, command: &[String], longest: Duration) -> Result<(), ProbeFailure> {
    let failed =
        |ended: String| Err(ProbeFailure::Command { command: shown(&command.join(" "), COMMAND_SHOWN_MAX), ended });
    let late = || failed(format!("did not end within {} ms", longest.as_millis()));
    match timeout(longest + TELLING_MAX, inside.run(command, longest)).await {
        Err(_) => late(),
        Ok(Err(OrderError::NoSocket(source))) => Err(ProbeFailure::NoSocket { source }),
        Ok(Err(error)) => failed(format!("was not run: {error}")),
        Ok(Ok(Report { outcome, output, .. })) => match outcome {
            Outcome::Exited(0) => Ok(()),
            Outcome::Exited(status) => failed(with_output(format!("ended with status {status}"), &output)),
            Outcome::Killed { signal } => failed(with_output(format!("was killed by signal {signal}"), &output)),
            Outcome::TimedOut => late(),
            Outcome::NotStarted { reason } => {
                failed(format!("could not be started: {}", shown(&reason, OUTPUT_SHOWN_MAX)))
            }
        },
    }
}

fn with_output(ended: String, output: &str) -> String {
    match shown(output.trim(), OUTPUT_SHOWN_MAX) {
        nothing if nothing.is_empty() => ended,
        output => format!("{ended}: {output}"),
    }
}

/// On one line, and no longer than that.
fn shown(text: &str, most: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
