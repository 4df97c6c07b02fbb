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
    process::exit,
};

use dormouse_driver::worker::outcome;
use nix::unistd::execve;

const SECOND_LIFE: &str = "second-life";
const PROGRAM: &str = "/usr/bin/dormouse";
const LINKER: &CStr =
    if cfg!(target_arch = "aarch64") { c"/lib/ld-linux-aarch64.so.1" } else { c"/lib64/ld-linux-x86-64.so.2" };

/// Leaves this program and comes back by the linker; an answer is only given where that fails.
pub(super) fn overwrite() -> String {
    let arguments =
        ["ld.so", PROGRAM, "worker", SECOND_LIFE].map(|argument| CString::new(argument).unwrap_or_default());
    let refused: nix::Result<Infallible> = execve(LINKER, &arguments, &[c"LD_LIBRARY_PATH=/usr/lib/dormouse"]);
    refused.unwrap_err().to_string()
}

/// After the exec: writes to the program, which nobody executes now, and ends. The log has what came
/// of it.
pub(super) fn second_life(arguments: &[String]) {
    if arguments.get(1).is_some_and(|argument| argument == SECOND_LIFE) {
        let program = OpenOptions::new().append(true).open(PROGRAM);
        println!("{}", outcome(program.and_then(|mut program| program.write_all(b"overwritten"))));
        exit(0);
    }
}
