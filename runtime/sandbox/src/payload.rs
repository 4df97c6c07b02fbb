//! The last step inside a container: probe the device policy, then become the worker, or the image's program.

use std::{convert::Infallible, ffi::CString, sync::Arc};

use libcontainer::{
    oci_spec::runtime::Spec,
    workload::{Executor, ExecutorError, ExecutorValidationError},
};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        signal::{SigHandler, Signal, signal},
        stat::Mode,
    },
    unistd::execve,
};

use crate::{commands::runner::CommandRunner, defence::Defence};

/// A device node that every container has and no policy allows.
const DENIED_DEVICE: &str = "/dev/tty";
const ALLOWED_DEVICE: &str = "/dev/null";

/// What shells and Docker end with where there is no such program, and where there is one that cannot be executed.
const STATUS_NOT_FOUND: i32 = 127;
const STATUS_NOT_EXECUTED: i32 = 126;

/// Executes `process.args` after it has seen, from inside, that the device policy holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    /// Begun before, where commands are to be run beside it.
    pub(crate) runner: Option<Arc<CommandRunner>>,
}

impl Executor for Payload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        // Nobody waits for this process's word any more; its standard error is the replica's log.
        become_payload(spec, self.runner.as_deref())
            .inspect_err(|error| eprintln!("dormouse: the payload was not started: {error}"))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let has_arguments = spec.process().as_ref().and_then(|process| process.args().as_ref()).is_some();
        if has_arguments { Ok(()) } else { Err(ExecutorValidationError::CantHandle("a process without arguments")) }
    }
}

fn become_payload(spec: &Spec, runner: Option<&CommandRunner>) -> Result<(), ExecutorError> {
    if Defence::DevicePolicy.stands() {
        probe_devices().map_err(ExecutorError::Other)?;
    }
    // SAFETY: no handler is installed, only the default action restored; one thread runs.
    // The spawner ignores SIGPIPE, and an ignored signal would stay ignored after exec.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }
        .map_err(|error| ExecutorError::Execution(Box::new(error)))?;
    let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
    let environment = process.env().as_deref().unwrap_or_default();
    if let Some(runner) = runner {
        runner
            .begin(environment)
            .map_err(|error| ExecutorError::Other(format!("nothing can run its probes: {error}")))?;
    }
    match become_program(process.args().as_deref().unwrap_or_default(), environment)? {}
}

/// Executes what the first of the arguments names. Where that is not to be, its standard error tells why, and it ends
/// with the status that a shell ends with then.
pub(crate) fn become_program(arguments: &[String], environment: &[String]) -> Result<Infallible, ExecutorError> {
    let program = arguments.first().ok_or(ExecutorError::InvalidArg)?;
    let error = execute(program, &c_strings(arguments)?, environment)?;
    eprintln!("dormouse: {}", dormouse_spec::printable(&why_not(program, error)));
    // SAFETY: `_exit` has no preconditions. What libcontainer would do on the way out is nobody's to hear.
    unsafe { nix::libc::_exit(if error == Errno::ENOENT { STATUS_NOT_FOUND } else { STATUS_NOT_EXECUTED }) }
}

/// Comes back with why it could not. A program without a slash is looked for in each directory of the `PATH`
/// that it is given; one that is there and may not be executed is passed over, and told if no other is.
fn execute(program: &str, arguments: &[CString], environment: &[String]) -> Result<Errno, ExecutorError> {
    let variables = c_strings(environment)?;
    let mut denied = None;
    for candidate in candidates(program, environment) {
        match execve(&c_string(&candidate)?, arguments, &variables) {
            Ok(never) => match never {},
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::EACCES) => denied = Some(Errno::EACCES),
            Err(error) => return Ok(error),
        }
    }
    Ok(denied.unwrap_or(Errno::ENOENT))
}

fn candidates(program: &str, environment: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
    let in_directory =
        |directory: &str| if directory.is_empty() { format!("./{program}") } else { format!("{directory}/{program}") };
    path.split(':').map(in_directory).collect()
}

fn why_not(program: &str, error: Errno) -> String {
    match error {
        Errno::ENOENT if program.contains('/') => {
            format!("`{program}` is not in the image, or the interpreter that it names is not")
        }
        Errno::ENOENT => format!("`{program}` is not in the image's PATH, or the interpreter that it names is not"),
        Errno::ENOEXEC => format!("`{program}` is no program of this machine"),
        error => format!("`{program}` cannot be executed: {error}"),
    }
}

/// The denied node exists, is readable by everybody and has no terminal behind it: without a policy
/// the kernel answers ENXIO, with one EPERM.
fn probe_devices() -> Result<(), String> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    match open(DENIED_DEVICE, flags, Mode::empty()) {
        Err(Errno::EPERM) => {}
        Err(error) => {
            return Err(format!("the device policy does not hold: {DENIED_DEVICE} answers {error}, not EPERM"));
        }
        Ok(_) => return Err(format!("the device policy does not hold: {DENIED_DEVICE} can be opened")),
    }
    open(ALLOWED_DEVICE, flags, Mode::empty())
        .map(drop)
        .map_err(|error| format!("the device policy denies {ALLOWED_DEVICE}: {error}"))
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, ExecutorError> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn c_string(text: &str) -> Result<CString, ExecutorError> {
    CString::new(text).map_err(|_| ExecutorError::InvalidArg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_slash_is_looked_for_in_its_path() {
        let environment = ["A=PATH=/x".to_owned(), "PATH=/bin:/usr/bin".to_owned()];
        assert_eq!(candidates("sh", &environment), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(candidates("./sh", &environment), ["./sh"]);
        assert_eq!(candidates("sh", &[]), ["./sh"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(why_not("nope", Errno::ENOENT).starts_with("`nope` is not in the image's PATH"));
        assert!(why_not("/nope", Errno::ENOENT).starts_with("`/nope` is not in the image,"));
    }
}
