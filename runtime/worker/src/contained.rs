//! A worker in its container: it loads ONNX Runtime, waits to be told what to serve, and reports.

use std::error::Error;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use crate::control::{ControlChannel, Loading, Received};
use crate::error::chain;
use crate::inference::Inference;
use crate::serve::{Listener, serve};
use crate::{Assignment, onnxruntime};

/// Serves what the control channel assigns, until told to stop.
pub(crate) fn run(library: &Path, begun: Instant) -> Result<(), Box<dyn Error>> {
    let control = ControlChannel::from_stdin()?;
    let Loaded { assignment, listener, inference, loading } = match load(&control, library, begun) {
        Ok(Some(loaded)) => loaded,
        Ok(None) => return Ok(()),
        Err(error) => {
            // Told to whoever waits for it first; the caller logs it whether or not that worked.
            let _ = control.failed(&chain(error.as_ref()));
            return Err(error);
        }
    };
    Ok(serve(Listener::Unix(listener), inference, &assignment, || Ok(control.ready(&loading)?))?)
}

struct Loaded {
    assignment: Assignment,
    listener: UnixListener,
    inference: Inference,
    loading: Loading,
}

/// Everything up to a loaded model. The library comes first: it is the same for every model, so a worker that
/// waits for its assignment has that part behind it.
fn load(control: &ControlChannel, library: &Path, begun: Instant) -> Result<Option<Loaded>, Box<dyn Error>> {
    let environment = onnxruntime::environment(library)?;
    let runtime = begun.elapsed();
    control.blank()?;
    let Some(Received { assignment, listener, sources }) = control.receive()? else { return Ok(None) };
    let assigned = Instant::now();
    let inference = Inference::start(environment, &assignment, sources)?;
    let model = inference.model_opened.saturating_duration_since(assigned);
    let session = inference.model_opened.elapsed();
    Ok(Some(Loaded { assignment, listener, inference, loading: Loading { runtime, model, session } }))
}
