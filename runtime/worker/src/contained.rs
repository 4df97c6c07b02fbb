//! A worker in its container: it loads ONNX Runtime, waits to be told what to serve, and reports.

use std::error::Error;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::control::{ControlChannel, Received};
use crate::error::chain;
use crate::inference::Inference;
use crate::serve::{Listener, serve};
use crate::{Assignment, onnxruntime};

/// Serves what the control channel assigns, until told to stop.
pub(crate) fn run(library: &Path) -> Result<(), Box<dyn Error>> {
    let control = ControlChannel::from_stdin()?;
    let Loaded { assignment, listener, inference } = match load(&control, library) {
        Ok(Some(loaded)) => loaded,
        Ok(None) => return Ok(()),
        Err(error) => {
            // Told to whoever waits for it first; the caller logs it whether or not that worked.
            let _ = control.failed(&chain(error.as_ref()));
            return Err(error);
        }
    };
    Ok(serve(Listener::Unix(listener), inference, &assignment, || Ok(control.ready()?))?)
}

struct Loaded {
    assignment: Assignment,
    listener: UnixListener,
    inference: Inference,
}

/// Everything up to a loaded model. The library comes first: it is the same for every model, so a worker that
/// waits for its assignment has that part behind it.
fn load(control: &ControlChannel, library: &Path) -> Result<Option<Loaded>, Box<dyn Error>> {
    let environment = onnxruntime::environment(library)?;
    let Some(Received { assignment, listener, sources }) = control.receive()? else { return Ok(None) };
    let inference = Inference::start(environment, &assignment, sources)?;
    Ok(Some(Loaded { assignment, listener, inference }))
}
