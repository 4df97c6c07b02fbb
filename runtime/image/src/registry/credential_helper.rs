use std::{
    io::{self, Read as _, Write as _},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use dormouse_spec::Registry;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::Deserialize;

use crate::shown::shown;

use super::Credentials;

const PROGRAM_PREFIX: &str = "docker-credential-";
/// How long a helper may take, with somebody to unlock a keychain.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a helper may answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What Docker asks helpers for in place of `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name under which helpers keep identity tokens.
const IDENTITY_TOKEN_USER: &str = "<token>";
/// How helpers say that they have nothing: there is no status for it.
const NOTHING_FOUND: &str = "credentials not found";

/// Why a credential helper told nothing.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("`{name}` is not the name of a helper: use a-z, 0-9, `-`, `.` and `_`, as in `secretservice`")]
    Name { name: String },
    #[error("`{PROGRAM_PREFIX}{name}` cannot be run: is it installed and on the PATH?")]
    Run {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("`{PROGRAM_PREFIX}{name}` did not end within {} s and was killed", PATIENCE.as_secs())]
    TimedOut { name: String },
    #[error("`{PROGRAM_PREFIX}{name}` printed more than {ANSWER_BYTES_MAX} bytes and was killed")]
    TooMuch { name: String },
    #[error("`{PROGRAM_PREFIX}{name}` ended with {status}: {answer}")]
    Failed { name: String, status: ExitStatus, answer: String },
    #[error("the answer of `{PROGRAM_PREFIX}{name}` is not understood")]
    Answer { name: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What the helper `docker-credential-<name>` keeps for a registry.
pub(super) fn ask_helper(name: &str, registry: &Registry) -> Result<Option<Credentials>, HelperError> {
    // Nothing that leads to another directory.
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if name.is_empty() || !name.bytes().all(inside) {
        return Err(HelperError::Name { name: name.to_owned() });
    }
    let key = if registry.is_docker_hub() { DOCKER_HUB_KEY } else { registry.as_str() };
    run(name, Command::new(format!("{PROGRAM_PREFIX}{name}")).arg("get"), key, PATIENCE)
}

fn run(name: &str, command: &mut Command, key: &str, patience: Duration) -> Result<Option<Credentials>, HelperError> {
    let failed = |source| HelperError::Run { name: name.to_owned(), source };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let spoken = speak(&mut child, key, Instant::now() + patience);
    if !matches!(spoken, Ok(Spoken::Ended(_))) {
        // It may have ended meanwhile, which is as good.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let answer = match spoken.map_err(failed)? {
        Spoken::Ended(answer) => answer,
        Spoken::TimedOut => return Err(HelperError::TimedOut { name: name.to_owned() }),
        Spoken::TooMuch => return Err(HelperError::TooMuch { name: name.to_owned() }),
    };
    understand(name, status, &answer)
}

enum Spoken {
    Ended(Vec<u8>),
    TimedOut,
    TooMuch,
}

/// Asks, and waits until the helper has said all and ended.
fn speak(child: &mut Child, key: &str, deadline: Instant) -> io::Result<Spoken> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(key.as_bytes()) {
            // It ended without having read: its status tells why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    let mut answer = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        loop {
            if !wait_for(PollFd::new(&stdout, PollFlags::IN), deadline)? {
                return Ok(Spoken::TimedOut);
            }
            if read_some(&mut stdout, &mut answer)? == 0 {
                break;
            }
            if answer.len() > ANSWER_BYTES_MAX {
                return Ok(Spoken::TooMuch);
            }
        }
    }
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let has_ended = wait_for(PollFd::new(&ended, PollFlags::IN), deadline)?;
    Ok(if has_ended { Spoken::Ended(answer) } else { Spoken::TimedOut })
}

fn read_some(stdout: &mut ChildStdout, answer: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let read = stdout.read(&mut buffer)?;
    answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    Ok(read)
}

/// Whether there was something before the deadline.
fn wait_for(what: PollFd<'_>, deadline: Instant) -> io::Result<bool> {
    let mut what = [what];
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        match poll(&mut what, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

fn understand(name: &str, status: ExitStatus, answer: &[u8]) -> Result<Option<Credentials>, HelperError> {
    if !status.success() {
        let text = String::from_utf8_lossy(answer);
        if text.contains(NOTHING_FOUND) {
            return Ok(None);
        }
        return Err(HelperError::Failed { name: name.to_owned(), status, answer: shown(text.trim()) });
    }
    // Without serde's reason, which may quote what is secret.
    let Answer { username, secret } =
        serde_json::from_slice(answer).map_err(|_| HelperError::Answer { name: name.to_owned() })?;
    Ok(Some(match username.as_str() {
        IDENTITY_TOKEN_USER => Credentials::IdentityToken(secret),
        _ => Credentials::Password { username, password: secret },
    }))
}

#[cfg(test)]
mod tests;
