//! The product's program as it is.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse_gateway::main()
}
