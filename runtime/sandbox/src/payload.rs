//! The last step inside a container: probe the device policy, then become the worker.

use std::ffi::CString;

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

use crate::defence::Defence;

/// A device node that every container has and no policy allows.
const DENIED_DEVICE: &str = "/dev/tty";
const ALLOWED_DEVICE: &str = "/dev/null";

/// Executes `process.args` after it has seen, from inside, that the device policy holds.
#[derive(Debug, Clone)]
pub(crate) struct Payload;

impl Executor for Payload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        // Nobody waits for this process's word any more; its standard error is the replica's log.
        become_payload(spec).inspect_err(|error| eprintln!("dormouse: the payload was not started: {error}"))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let has_arguments = spec.process().as_ref().and_then(|process| process.args().as_ref()).is_some();
        if has_arguments { Ok(()) } else { Err(ExecutorValidationError::CantHandle("a process without arguments")) }
    }
}

fn become_payload(spec: &Spec) -> Result<(), ExecutorError> {
    if Defence::DevicePolicy.stands() {
        probe_devices().map_err(ExecutorError::Other)?;
    }
    // SAFETY: no handler is installed, only the default action restored; one thread runs.
    // The spawner ignores SIGPIPE, and an ignored signal would stay ignored after exec.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }
        .map_err(|error| ExecutorError::Execution(Box::new(error)))?;
    let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
    let arguments = c_strings(process.args().as_deref().unwrap_or_default())?;
    let environment = c_strings(process.env().as_deref().unwrap_or_default())?;
    let program = arguments.first().ok_or(ExecutorError::InvalidArg)?;
    match execve(program, &arguments, &environment) {
        Ok(never) => match never {},
        Err(error) => Err(ExecutorError::Other(format!("executing {program:?} failed: {error}"))),
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
    texts.iter().map(|text| CString::new(text.as_str()).map_err(|_| ExecutorError::InvalidArg)).collect()
}
