//! Optimising a model once, so that every later start has that behind it.
//!
//! The optimised model is written in ORT format, loaded as it will be for serving, and asked what the original was
//! asked. It is the original's own graph after the same passes of the same library, run by the same kernels: its
//! answers are to be the same bit for bit, whatever the datatype. Anything else is no rounding but another
//! computation, and is not used.

use std::path::PathBuf;

use bytes::Bytes;
use ort::environment::Environment;
use ort::session::RunOptions;

use crate::Assignment;
use crate::error::ApiError;
use crate::inference::{Call, Cancellation, Engine, Reply};
use crate::mapping::map_forever;
use crate::model::{Content, LoadError, Model, RunError};
use crate::seeded;
use crate::v2::encoding::Coding;
use crate::v2::response::OutputTensor;
use crate::v2::{Datatype, InferRequest};

/// On what the answers of a prepared model were compared with those of its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    /// On the request that came with the model.
    Sample,
    /// On input made from the names, shapes and types of its inputs.
    Seeded,
    /// On nothing: both refuse every such input.
    No,
}

impl Verified {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Seeded => "seeded",
            Self::No => "no",
        }
    }
}

/// Why there is no prepared model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("the model does not answer the sample")]
    Sample(#[source] RunError),
    #[error(
        "the model answers the same request differently each time, so that a prepared one cannot be compared with it"
    )]
    Random,
    #[error("the optimised model cannot be saved in ORT format")]
    Save(#[source] LoadError),
    #[error("the optimised model cannot be mapped")]
    Map(#[source] std::io::Error),
    #[error("the prepared model cannot be loaded")]
    Load(#[source] LoadError),
    #[error("the prepared model has other inputs or outputs than the original")]
    Signature,
    #[error("the prepared model does not answer what the original answers")]
    Run(#[source] RunError),
    #[error("the prepared model answers what the original refuses")]
    Answers,
    #[error("the prepared model's output '{0}' differs from the original's")]
    Differs(String),
    #[error("the original was given up for an earlier preparation")]
    Spent,
}

impl PrepareError {
    /// Whether the sample is at fault, and not the model.
    pub(crate) fn is_of_sample(&self) -> bool {
        matches!(self, Self::Sample(_))
    }
}

/// A model that was prepared.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: &'static [u8],
    pub(crate) verified: Verified,
}

/// Prepares the model it has, once.
#[derive(Debug)]
pub(crate) struct Preparer {
    environment: Environment,
    assignment: Assignment,
    original: Option<Model>,
    /// Where the optimised model is written.
    place: PathBuf,
}

/// What an output was, to its last bit.
#[derive(PartialEq)]
struct Output {
    name: String,
    datatype: Datatype,
    dims: Vec<i64>,
    elements: Vec<u8>,
}

/// A request with what the original made of it.
struct Question {
    request: InferRequest,
    expected: Vec<Output>,
}

impl Preparer {
    pub(crate) fn new(environment: Environment, original: Model, assignment: &Assignment, place: PathBuf) -> Self {
        Self { environment, assignment: assignment.clone(), original: Some(original), place }
    }

    /// The original goes before the optimised model comes: memory need not hold both.
    pub(crate) fn prepare(&mut self, sample: Option<InferRequest>) -> Result<Prepared, PrepareError> {
        let mut original = self.original.take().ok_or(PrepareError::Spent)?;
        let signature = original.signature().clone();
        let verified = if sample.is_some() { Verified::Sample } else { Verified::Seeded };
        let question = match sample {
            Some(request) => Some(ask_twice(&mut original, request, PrepareError::Sample)?),
            None => first_answered(&mut original)?,
        };
        let content = original.content().clone();
        drop(original);
        content.save(&self.environment, &self.assignment, &self.place).map_err(PrepareError::Save)?;
        let file = std::fs::File::open(&self.place).and_then(map_forever).map_err(PrepareError::Map)?;
        let mut prepared =
            Model::of(&self.environment, &self.assignment, Content::Ort(file)).map_err(PrepareError::Load)?;
        if *prepared.signature() != signature {
            return Err(PrepareError::Signature);
        }
        match question {
            Some(question) => compare(&mut prepared, question)?,
            None if first_answered(&mut prepared)?.is_some() => return Err(PrepareError::Answers),
            None => return Ok(Prepared { file, verified: Verified::No }),
        }
        Ok(Prepared { file, verified })
    }
}

/// Twice, because what is random cannot be compared.
fn ask_twice(
    model: &mut Model,
    request: InferRequest,
    failed: impl Fn(RunError) -> PrepareError,
) -> Result<Question, PrepareError> {
    let expected = ask(model, request.clone()).map_err(&failed)?;
    if ask(model, request.clone()).map_err(failed)? != expected {
        return Err(PrepareError::Random);
    }
    Ok(Question { request, expected })
}

/// The first seeded request that the model answers.
fn first_answered(model: &mut Model) -> Result<Option<Question>, PrepareError> {
    for request in seeded::requests(&model.signature().clone()) {
        if ask(model, request.clone()).is_ok() {
            return ask_twice(model, request, PrepareError::Run).map(Some);
        }
    }
    Ok(None)
}

fn compare(prepared: &mut Model, question: Question) -> Result<(), PrepareError> {
    let Question { request, expected } = question;
    let found = ask(prepared, request).map_err(PrepareError::Run)?;
    match differing(&expected, &found) {
        Some(output) => Err(PrepareError::Differs(output.to_owned())),
        None => Ok(()),
    }
}

/// The first output that is not the same. The signature is, and with it the outputs that were asked for.
fn differing<'o>(expected: &'o [Output], found: &[Output]) -> Option<&'o str> {
    let mut found = found.iter();
    expected.iter().find(|expected| found.next() != Some(expected)).map(|output| output.name.as_str())
}

fn ask(model: &mut Model, request: InferRequest) -> Result<Vec<Output>, RunError> {
    let options = RunOptions::new().map_err(RunError::Run)?;
    model.run(request, &options, |outputs: &[OutputTensor<'_>]| {
        outputs
            .iter()
            .map(|OutputTensor { name, dims, tensor, .. }| {
                let mut elements = Vec::with_capacity(tensor.binary_size());
                tensor.write_binary(&mut elements);
                Output { name: (*name).to_owned(), datatype: tensor.datatype(), dims: dims.clone(), elements }
            })
            .collect()
    })
}

impl Engine for Preparer {
    /// The body of the call is a sample request, or nothing.
    fn infer(&mut self, call: &Call, _: &Cancellation) -> Result<Reply, ApiError> {
        let original = self.original.as_ref().ok_or(PrepareError::Spent)?;
        let sample = match call.body.as_ref() {
            [] => None,
            body => Some(InferRequest::decode(body, call.header_length.as_deref(), original.signature())?),
        };
        let Prepared { file, verified } = self.prepare(sample)?;
        let body = Bytes::from_static(file);
        Ok(Reply { body, header_length: None, coding: Coding::Identity, verified: Some(verified) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(number: f32, dims: &[i64]) -> Vec<Output> {
        let output = |name: &str, number: f32| Output {
            name: name.to_owned(),
            datatype: Datatype::Fp32,
            dims: dims.to_vec(),
            elements: number.to_le_bytes().to_vec(),
        };
        vec![output("same", 1.0), output("asked", number)]
    }

    #[test]
    fn one_bit_is_a_difference_and_nothing_less_is() {
        let one = outputs(1.0, &[1]);
        assert_eq!(differing(&one, &outputs(1.0, &[1])), None);
        assert_eq!(differing(&one, &outputs(1.0_f32.next_up(), &[1])), Some("asked"));
        assert_eq!(differing(&one, &outputs(1.0, &[1, 1])), Some("same"), "another shape");
        assert_eq!(differing(&one, &[]), Some("same"), "no answer");
        let nan = outputs(f32::NAN, &[1]);
        assert_eq!(differing(&nan, &outputs(f32::NAN, &[1])), None, "nothing is the same as nothing");
        assert_eq!(differing(&outputs(0.0, &[1]), &outputs(-0.0, &[1])), Some("asked"));
    }
}
