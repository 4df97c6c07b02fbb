//! The scripted worker alone, as the program of an image.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse_tests::fake::run_in_image()
}
