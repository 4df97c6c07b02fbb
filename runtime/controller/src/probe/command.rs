//! A look by a command that is run in the container.

use std::time::Duration;

use dormouse_sandbox::commands::{Outcome, Report};
use dormouse_spec::printable;

use super::ProbeFailure;
use crate::{Inside, OrderError};

/// Of a command, and of what it printed, where that is told, in characters.
const COMMAND_SHOWN_MAX: usize = 80;
const OUTPUT_SHOWN_MAX: usize = 200;

pub(super) async fn run(inside: &Inside, command: &[String], longest: Duration) -> Result<(), ProbeFailure> {
    let late = || format!("did not end within {} ms", longest.as_millis());
    let (ended, output) = match inside.run(command, longest).await {
        Err(OrderError::NoSocket(source)) => return Err(ProbeFailure::NoSocket { source }),
        Err(OrderError::Late) => (late(), String::new()),
        Err(error) => (format!("was not run: {error}"), String::new()),
        Ok(Report { outcome, output, .. }) => match outcome {
            Outcome::Exited(0) => return Ok(()),
            Outcome::Exited(status) => (format!("ended with status {status}"), output),
            Outcome::Killed { signal } => (format!("was killed by signal {signal}"), output),
            Outcome::TimedOut => (late(), output),
            Outcome::NotStarted { reason } => {
                (format!("could not be started: {}", shown(&reason, OUTPUT_SHOWN_MAX)), output)
            }
        },
    };
    let output = match shown(output.trim(), OUTPUT_SHOWN_MAX) {
        nothing if nothing.is_empty() => nothing,
        output => format!(": {output}"),
    };
    Err(ProbeFailure::Command { command: shown(&command.join(" "), COMMAND_SHOWN_MAX), ended, output })
}

/// On one line, and no longer than that.
fn shown(text: &str, most: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
