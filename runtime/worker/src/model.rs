//! One loaded model: its session, what it takes and gives, and running it.

mod values;

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::{Outlet, ValueType};

use crate::Assignment;
use crate::v2::request::{InputTensor, RequestedOutput};
use crate::v2::response::OutputTensor;
use crate::v2::{InferRequest, Signature, TensorSpec};

/// Operators of one model run one after the other; what runs in parallel is the inside of an operator.
const INTER_OP_THREADS: usize = 1;

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the session cannot be configured")]
    Configure(#[source] ort::Error),
    #[error("the model cannot be loaded")]
    Load(#[source] ort::Error),
    #[error("{side} '{name}' is a {found}, which the V2 protocol cannot carry")]
    Type { side: &'static str, name: String, found: String },
    #[error("ONNX Runtime's binding gave up on the model: it uses a type that cannot be served")]
    Panicked,
}

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("an input could not be handed to ONNX Runtime")]
    Input(#[source] ort::Error),
    #[error("the model failed")]
    Run(#[source] ort::Error),
    #[error("output '{name}' could not be read")]
    Output {
        name: String,
        #[source]
        source: ort::Error,
    },
    #[error("output '{name}' is a {found}, which the V2 protocol cannot carry")]
    Type { name: String, found: String },
}

/// A model ready to run. Running takes it exclusively: ONNX Runtime's sessions are not safe to share.
#[derive(Debug)]
pub(crate) struct Model {
    session: Session,
    signature: Signature,
    opened: Instant,
}

impl Model {
    /// Builds the session of a model file.
    pub(crate) fn load(environment: &Environment, assignment: &Assignment) -> Result<Self, LoadError> {
        // The binding panics on types it has no name for, and a model is untrusted.
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            // ONNX Runtime opens it by its path, for the sake of the external data beside it.
            let opened = Instant::now();
            let mut builder = configure(environment, assignment).map_err(LoadError::Configure)?;
            let session = builder.commit_from_file(&assignment.model).map_err(LoadError::Load)?;
            let signature = signature(&session)?;
            Ok(Self { session, signature, opened })
        }))
        .unwrap_or(Err(LoadError::Panicked))
    }

    /// When its bytes were at hand.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Runs the model and gives its outputs to `answer` in the order asked for.
    pub(crate) fn run<T>(
        &mut self,
        request: InferRequest,
        options: &RunOptions,
        answer: impl FnOnce(&[OutputTensor<'_>]) -> T,
    ) -> Result<T, RunError> {
        let inputs = request
            .inputs
            .into_iter()
            .zip(&self.signature.inputs)
            .map(|(InputTensor { shape, tensor }, spec)| {
                Ok((Cow::from(&spec.name), values::from_tensor(tensor, &shape)?))
            })
            .collect::<Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>, ort::Error>>()
            .map_err(RunError::Input)?;
        let outputs = self.session.run_with_options(inputs, options).map_err(RunError::Run)?;
        Ok(answer(&select(&outputs, &request.outputs, &self.signature)?))
    }
}

fn configure(environment: &Environment, assignment: &Assignment) -> Result<SessionBuilder, ort::Error> {
    Ok(Session::builder(environment)?
        .with_intra_threads(assignment.intra_op_threads.get())?
        .with_inter_threads(INTER_OP_THREADS)?
        // Threads that spin between operators burn the replica's CPU quota.
        .with_intra_op_spinning(false)?)
}

fn signature(session: &Session) -> Result<Signature, LoadError> {
    let specs = |side, outlets: &[Outlet]| outlets.iter().map(|outlet| spec(side, outlet)).collect::<Result<_, _>>();
    Ok(Signature { inputs: specs("input", session.inputs())?, outputs: specs("output", session.outputs())? })
}

fn spec(side: &'static str, outlet: &Outlet) -> Result<TensorSpec, LoadError> {
    let name = outlet.name().to_owned();
    let unknown = || LoadError::Type { side, name: name.clone(), found: outlet.dtype().to_string() };
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else { return Err(unknown()) };
    let datatype = values::datatype(*ty).ok_or_else(unknown)?;
    Ok(TensorSpec { name, datatype, dims: shape.to_vec() })
}

fn select<'o>(
    outputs: &'o SessionOutputs<'_>,
    wanted: &[RequestedOutput],
    signature: &'o Signature,
) -> Result<Vec<OutputTensor<'o>>, RunError> {
    wanted
        .iter()
        .filter_map(|wanted| Some((wanted, signature.outputs.get(wanted.index)?)))
        .filter_map(|(wanted, spec)| Some((wanted.binary, &spec.name, outputs.get(spec.name.as_str())?)))
        .map(|(binary, name, value)| {
            let read = values::to_tensor(value).map_err(|source| RunError::Output { name: name.clone(), source })?;
            let unknown = || RunError::Type { name: name.clone(), found: value.dtype().to_string() };
            let (dims, tensor) = read.ok_or_else(unknown)?;
            Ok(OutputTensor { name, dims, tensor, binary })
        })
        .collect()
}
