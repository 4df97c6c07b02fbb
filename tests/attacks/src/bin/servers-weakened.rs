//! The spawner and the product's own worker, as they are unless their environment names defences that
//! are missing. A request to the worker may name what its server does then.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("daemon") => dormouse_driver::run_daemon!(dormouse_sandbox_weakened, &arguments),
        Some("node") => dormouse_driver::node::main(),
        _ => dormouse_attacks::taken_over::worker(),
    }
}
