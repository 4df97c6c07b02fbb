//! The product's own program.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse_gateway::main()
}
