//! A worker in its container: it loads ONNX Runtime, waits to be told what to serve, and reports.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use ort::environment::Environment;

use crate::control::{ControlChannel, Loading, Received};
use crate::error::chain;
use crate::inference::Inference;
use crate::serve::{self, Listener, serve};
use crate::template::{self, Template};
use crate::{Assignment, onnxruntime};

/// Serves what the control channel assigns, until told to stop, or forks who does.
pub(crate) fn run(library: &Path, begun: Instant) -> Result<(), Box<dyn Error>> {
    let control = ControlChannel::from_stdin()?;
    let loaded = load(&control, library, begun).inspect_err(|error| {
        // Told to whoever waits for it first; the caller logs it whether or not that worked.
        let _ = control.failed(&chain(error.as_ref()));
    })?;
    match loaded {
        None => Ok(()),
        Some(Loaded::Server { assignment, listener, inference, loading }) => {
            Ok(serve(&serve::runtime()?, listener, inference, &assignment, || Ok(control.ready(&loading)?))?)
        }
        Some(Loaded::Template { template, loading }) => {
            control.ready(&loading)?;
            template::run(template, control)
        }
    }
}

enum Loaded {
    Server { assignment: Assignment, listener: Listener, inference: Inference, loading: Loading },
    Template { template: Template, loading: Loading },
}

/// Everything up to a loaded model. The library comes first: it is the same for every model, so a worker that
/// waits for its assignment has that part behind it.
fn load(control: &ControlChannel, library: &Path, begun: Instant) -> Result<Option<Loaded>, Box<dyn Error>> {
    let environment = onnxruntime::environment(library)?;
    let runtime = begun.elapsed();
    control.blank()?;
    let Some(received) = control.assignment()? else { return Ok(None) };
    Ok(Some(Loaded::of(received, environment, runtime)?))
}

impl Loaded {
    fn of(received: Received, environment: Environment, runtime: Duration) -> Result<Self, Box<dyn Error>> {
        let assigned = Instant::now();
        let loading = |opened: Instant| Loading {
            runtime,
            model: opened.saturating_duration_since(assigned),
            session: opened.elapsed(),
        };
        Ok(match received {
            Received::Own { assignment, listener, sources } => {
                let inference = Inference::start(environment, &assignment, sources)?;
                let loading = loading(inference.model_opened);
                Self::Server { assignment, listener: Listener::Unix(listener), inference, loading }
            }
            Received::OfServers { assignment, sources } => {
                let template = Template::load(environment, assignment, sources)?;
                let loading = loading(template.model_opened());
                Self::Template { template, loading }
            }
        })
    }
}
