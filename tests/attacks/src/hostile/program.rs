//! Overwriting the program that the next container will execute.
//!
//! A running program cannot be written to, so the attacker first stops running it: the dynamic
//! linker is executed instead and loads the program as a mere file. What is then behind
//! /proc/self/exe is the linker.

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    fs::OpenOptions,
    io::Write,
    os::{
        fd::{AsRawFd, FromRawFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use dormouse_driver::worker::outcome;
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    unistd::execve,
};

const SECOND_LIFE: &str = "second-life";
const PROGRAM: &str = "/usr/bin/dormouse";
const LINKER: &CStr =
    if cfg!(target_arch = "aarch64") { c"/lib/ld-linux-aarch64.so.1" } else { c"/lib64/ld-linux-x86-64.so.2" };

/// Leaves this program and comes back by the linker; the answer is then given by [`second_life`].
pub(super) fn overwrite(listener: &UnixListener, connection: &UnixStream) -> String {
    let directly = outcome(OpenOptions::new().write(true).open("/proc/self/exe"));
    if directly == "ok" {
        return "ok".to_owned();
    }
    for descriptor in [listener.as_raw_fd(), connection.as_raw_fd()] {
        let result = keep(descriptor);
        if result != "ok" {
            return format!("{directly}, then {result}");
        }
    }
    let (listener, connection) = (listener.as_raw_fd().to_string(), connection.as_raw_fd().to_string());
    let arguments = ["ld.so", PROGRAM, "worker", SECOND_LIFE, &listener, &connection];
    let arguments = arguments.map(|argument| CString::new(argument).unwrap());
    let library_path = c"LD_LIBRARY_PATH=/usr/lib/dormouse";
    let refused: nix::Result<Infallible> = execve(LINKER, &arguments, &[library_path]);
    format!("{directly}, then {}", refused.unwrap_err())
}

fn keep(descriptor: RawFd) -> String {
    // SAFETY: both belong to the caller, who holds them.
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    outcome(fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map_err(Into::into))
}

/// After the exec: writes to the program, which nobody executes now, and answers.
pub(super) fn second_life(arguments: &[String]) -> Option<UnixListener> {
    let [_, life, listener, connection] = arguments else { return None };
    if life != SECOND_LIFE {
        return None;
    }
    let taken = |number: &String| number.parse::<RawFd>().unwrap();
    // SAFETY: both were left open for this program by itself, and are taken once.
    let (listener, mut connection) =
        unsafe { (UnixListener::from_raw_fd(taken(listener)), UnixStream::from_raw_fd(taken(connection))) };
    let written =
        OpenOptions::new().append(true).open(PROGRAM).and_then(|mut program| program.write_all(b"overwritten"));
    let _ = connection.write_all(outcome(written).as_bytes());
    Some(listener)
}
