//! The product, but for what runs in its containers: a worker that follows a script.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "worker") {
        return dormouse_tests::fake::run();
    }
    dormouse_gateway::main()
}
