//! The spawner with one defence missing, named in its environment. Its workers are hostile.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("daemon") => dormouse_driver::run_daemon!(dormouse_sandbox_weakened, &arguments),
        Some("node") => dormouse_driver::node::main(),
        _ => dormouse_attacks::hostile::main(&arguments),
    }
}
