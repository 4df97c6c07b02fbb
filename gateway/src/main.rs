//! `dormouse`: the daemon, what runs in its containers, and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse_gateway::main()
}
