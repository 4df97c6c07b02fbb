//! A worker without a container, for tests and measurements: it makes its own socket and says `ready` on stdout.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::args::{BareArgs, Endpoint};
use crate::inference::Inference;
use crate::onnxruntime::{TELEMETRY_OFF, TELEMETRY_VARIABLE};
use crate::serve::{Listener, serve};
use crate::{Assignment, onnxruntime};

/// Why a bare worker cannot start.
#[derive(Debug, thiserror::Error)]
enum BareError {
    #[error("cannot listen at {at}")]
    Listen {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot start again with {TELEMETRY_VARIABLE}={TELEMETRY_OFF}")]
    Restart(#[source] io::Error),
}

/// Serves the model of `args` until told to stop.
pub(crate) fn run(library: &Path, args: BareArgs) -> Result<(), Box<dyn Error>> {
    if !onnxruntime::telemetry_is_off() {
        return Err(restart_without_telemetry().into());
    }
    let environment = onnxruntime::environment(library)?;
    let listener = listen(&args.endpoint)?;
    let assignment = Assignment {
        name: args.name,
        version: args.version,
        model: args.model,
        intra_op_threads: args.intra_op_threads,
        body_bytes_max: args.body_bytes_max,
        concurrency: args.concurrency,
    };
    let inference = Inference::start(environment, &assignment)?;
    Ok(serve(listener, inference, &assignment, say_ready)?)
}

/// Executes this program again with telemetry off. A process cannot soundly change its own environment, and ONNX
/// Runtime reads nothing else. Returns only on failure.
fn restart_without_telemetry() -> BareError {
    let restart = || {
        let mut command = Command::new(std::env::current_exe()?);
        let mut arguments = std::env::args_os();
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        Err(command.args(arguments).env(TELEMETRY_VARIABLE, TELEMETRY_OFF).exec())
    };
    let Err(error): io::Result<Infallible> = restart();
    BareError::Restart(error)
}

fn listen(endpoint: &Endpoint) -> Result<Listener, BareError> {
    match endpoint {
        Endpoint::Socket(path) => UnixListener::bind(path)
            .map(Listener::Unix)
            .map_err(|source| BareError::Listen { at: path.display().to_string(), source }),
        Endpoint::Loopback(address) => TcpListener::bind(address)
            .map(Listener::Tcp)
            .map_err(|source| BareError::Listen { at: address.to_string(), source }),
    }
}

fn say_ready() -> Result<(), Box<dyn Error>> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    Ok(())
}
