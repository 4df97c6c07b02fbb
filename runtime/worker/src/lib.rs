//! The built-in ONNX server: one model, one Unix socket, the Open Inference Protocol V2 over HTTP/1.1.
//!
//! Two threads do the work. The first owns every socket and only moves bytes. The second owns the ONNX Runtime
//! session and does everything that costs CPU: inflating, parsing, inference, writing the answer. So health and
//! metadata are answered while a model runs, and at most one request's tensors exist at a time.
//!
//! Or one thread does none of it: a template loads a model and forks servers, which go on as above.
//!
//! A worker trusts neither the model nor the requests, and it does not have to: it runs in a container that takes
//! everything else away. Still no request may make it panic, and every refusal says what was wrong.

mod args;
mod bare;
mod contained;
mod control;
mod defence;
mod error;
mod inference;
mod mapping;
mod model;
mod onnxruntime;
mod prepare;
mod seeded;
mod serve;
mod source;
mod template;
pub mod v2;

use std::process::ExitCode;
use std::time::Instant;

pub use args::{ArgsError, BareArgs, Endpoint, Mode, PrepareArgs, WorkerArgs};
pub use control::{Assignment, Work};
#[cfg(weakened)]
pub use defence::weakened::take_over;

/// Runs a worker until it is told to stop with SIGTERM.
///
/// Errors go to stderr; in a container also over the control channel, so that they reach whoever deployed the
/// model. The exit code is 0 after a clean stop and 1 after any failure.
#[must_use]
pub fn run(args: WorkerArgs) -> ExitCode {
    let begun = Instant::now();
    let outcome = match args.mode {
        Mode::Contained => contained::run(&args.onnxruntime, begun),
        Mode::Bare(bare) => bare::serve(&args.onnxruntime, bare),
        Mode::Prepare(prepare) => bare::prepare(&args.onnxruntime, prepare),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dormouse worker: {}", error::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
