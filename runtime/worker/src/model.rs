//! One loaded model: its session, what it takes and gives, and running it.

mod values;

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::{Outlet, ValueType};

use crate::error::chain;
use crate::mapping::map_forever;
use crate::source::ModelSource;
use crate::v2::request::{InputTensor, RequestedOutput};
use crate::v2::response::OutputTensor;
use crate::v2::{InferRequest, Signature, TensorSpec};
use crate::{Assignment, Work};

/// Operators of one model run one after the other; what runs in parallel is the inside of an operator.
const INTER_OP_THREADS: usize = 1;

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the session cannot be configured")]
    Configure(#[source] ort::Error),
    #[error("the model's file cannot be mapped")]
    Map(#[source] std::io::Error),
    #[error("the model cannot be loaded")]
    Load(#[source] ort::Error),
    #[error("{side} '{name}' is a {found}, which the V2 protocol cannot carry")]
    Type { side: &'static str, name: String, found: String },
    #[error("the assignment names no source of a model")]
    NoSource,
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
    content: Content,
    signature: Signature,
    opened: Instant,
}

/// A model's bytes where a session can be built of them.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    OnnxFile(PathBuf),
    Onnx(&'static [u8]),
    Ort(&'static [u8]),
}

impl Content {
    fn of(source: ModelSource) -> Result<Self, LoadError> {
        Ok(match source {
            ModelSource::OnnxFile(path) => Self::OnnxFile(path),
            ModelSource::Onnx(file) => Self::Onnx(map_forever(file).map_err(LoadError::Map)?),
            ModelSource::Ort(file) => Self::Ort(map_forever(file).map_err(LoadError::Map)?),
        })
    }

    fn session(&self, builder: SessionBuilder) -> Result<Session, LoadError> {
        let mut builder = match self {
            Self::OnnxFile(_) | Self::Onnx(_) => builder,
            Self::Ort(_) => in_place(builder).map_err(LoadError::Configure)?,
        };
        match self {
            Self::OnnxFile(path) => builder.commit_from_file(path),
            Self::Onnx(bytes) | Self::Ort(bytes) => builder.commit_from_memory(bytes),
        }
        .map_err(LoadError::Load)
    }

    /// Writes the optimised model in ORT format.
    pub(crate) fn save(
        &self,
        environment: &Environment,
        assignment: &Assignment,
        place: &Path,
    ) -> Result<(), LoadError> {
        unpanicked(|| {
            let builder = configure(environment, assignment).and_then(|builder| saving(builder, place));
            self.session(builder.map_err(LoadError::Configure)?).map(drop)
        })
    }
}

impl Model {
    /// Builds the session of the first source that one can be built of.
    pub(crate) fn load(
        environment: &Environment,
        assignment: &Assignment,
        sources: Vec<ModelSource>,
    ) -> Result<Self, LoadError> {
        let mut failure = LoadError::NoSource;
        for (index, source) in sources.into_iter().enumerate() {
            if index > 0 {
                eprintln!("dormouse worker: the next source of the model is used: {}", chain(&failure));
            }
            match Content::of(source).and_then(|content| Self::of(environment, assignment, content)) {
                Ok(model) => return Ok(model),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Builds the session of one.
    pub(crate) fn of(environment: &Environment, assignment: &Assignment, content: Content) -> Result<Self, LoadError> {
        unpanicked(|| {
            // An ONNX file is opened by its path, for the sake of the external data beside it, and so by ONNX Runtime.
            let opened = Instant::now();
            let builder = configure(environment, assignment).map_err(LoadError::Configure)?;
            let session = content.session(builder)?;
            let signature = signature(&session)?;
            Ok(Self { session, content, signature, opened })
        })
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
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

/// The binding panics on types it has no name for, and a model is untrusted.
fn unpanicked<T>(load: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    std::panic::catch_unwind(AssertUnwindSafe(load)).unwrap_or(Err(LoadError::Panicked))
}

/// What changes here changes what is prepared: see `OPTIONS` in runtime/controller/src/preparation/key.rs.
fn configure(environment: &Environment, assignment: &Assignment) -> Result<SessionBuilder, ort::Error> {
    let builder = Session::builder(environment)?
        .with_intra_threads(assignment.intra_op_threads.get())?
        .with_inter_threads(INTER_OP_THREADS)?
        // Threads that spin between operators burn the replica's CPU quota.
        .with_intra_op_spinning(false)?;
    match assignment.work {
        Work::Serve => Ok(builder),
        // It asks what a model may refuse; the refusals are no news for who reads the log.
        Work::Prepare => Ok(builder.with_log_level(LogLevel::Fatal)?),
    }
}

/// The session uses the bytes where they are, weights included, so they have to outlive it.
fn in_place(builder: SessionBuilder) -> Result<SessionBuilder, ort::Error> {
    Ok(builder
        .with_config_entry("session.use_ort_model_bytes_directly", "1")?
        .with_config_entry("session.use_ort_model_bytes_for_initializers", "1")?)
}

fn saving(builder: SessionBuilder, place: &Path) -> Result<SessionBuilder, ort::Error> {
    Ok(builder.with_config_entry("session.save_model_format", "ORT")?.with_optimized_model_path(place)?)
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
