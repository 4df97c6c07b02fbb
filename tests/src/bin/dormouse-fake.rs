//! The product's program, but for what runs in its containers: a worker that follows a script, where
//! its model is one.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "worker") && dormouse_tests::fake::is_scripted() {
        return dormouse_tests::fake::run();
    }
    dormouse_gateway::main()
}
