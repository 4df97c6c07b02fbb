//! A worker without a container, for tests and measurements. It makes its own socket and says `ready` on stdout; or it
//! prepares a model and says on what that was verified.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::{BareArgs, Endpoint, PrepareArgs};
use crate::inference::Inference;
use crate::model::{Content, Model};
use crate::onnxruntime::{TELEMETRY_OFF, TELEMETRY_VARIABLE};
use crate::prepare::{Prepared, Preparer};
use crate::serve::Listener;
use crate::source::ModelSource;
use crate::v2::InferRequest;
use crate::{Assignment, Work, onnxruntime};

/// Why a bare worker cannot start.
#[derive(Debug, thiserror::Error)]
enum BareError {
    #[error("cannot listen at {at}")]
    Listen {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot open {path}", path = path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start again with {TELEMETRY_VARIABLE}={TELEMETRY_OFF}")]
    Restart(#[source] io::Error),
}

/// Serves the model of `args` until told to stop.
pub(crate) fn serve(library: &Path, args: BareArgs) -> Result<(), Box<dyn Error>> {
    if !onnxruntime::telemetry_is_off() {
        return Err(restart_without_telemetry().into());
    }
    let environment = onnxruntime::environment(library)?;
    let listener = listen(&args.endpoint)?;
    let assignment = Assignment {
        name: args.name,
        version: args.version,
        work: Work::Serve,
        intra_op_threads: args.intra_op_threads,
        body_bytes_max: args.body_bytes_max,
        concurrency: args.concurrency,
    };
    let mut sources = vec![ModelSource::OnnxFile(args.model)];
    if let Some(path) = args.prepared {
        let file = File::open(&path).map_err(|source| BareError::Open { path, source })?;
        sources.insert(0, ModelSource::Ort(file.into()));
    }
    let inference = Inference::start(environment, &assignment, sources)?;
    Ok(crate::serve::serve(&crate::serve::runtime()?, listener, inference, &assignment, say_ready)?)
}

/// Prepares the model of `args`.
pub(crate) fn prepare(library: &Path, args: PrepareArgs) -> Result<(), Box<dyn Error>> {
    if !onnxruntime::telemetry_is_off() {
        return Err(restart_without_telemetry().into());
    }
    let environment = onnxruntime::environment(library)?;
    let assignment = Assignment {
        name: "prepared".to_owned(),
        version: "1".to_owned(),
        work: Work::Prepare,
        intra_op_threads: args.intra_op_threads,
        body_bytes_max: usize::MAX,
        concurrency: NonZeroUsize::MIN,
    };
    let model = Model::of(&environment, &assignment, Content::OnnxFile(args.model))?;
    let sample = match args.sample {
        None => None,
        Some(path) => {
            let text = std::fs::read(&path).map_err(|source| BareError::Open { path, source })?;
            Some(InferRequest::decode(&text, None, model.signature())?)
        }
    };
    let Prepared { verified, .. } = Preparer::new(environment, model, &assignment, args.prepared).prepare(sample)?;
    println!("verified: {}", verified.name());
    Ok(())
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
