//! The product's program with one defence missing, named in its environment.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse_gateway_weakened::main()
}
