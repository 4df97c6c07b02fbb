//! An inference request: JSON, JSON followed by binary tensors, or one raw tensor.

mod json;
mod raw;

use serde_json::value::RawValue;

use super::shape::ShapeError;
use super::signature::{MismatchError, names};
use super::tensor::{BinaryError, JsonDataError};
use super::{Datatype, Shape, Signature, Tensor};
use crate::defence::Defence;
use json::{Flag, InputJson, OutputJson, RequestJson};

/// Most of a sent name that an error repeats, in bytes.
const SHOWN_BYTES_MAX: usize = 128;

/// The header that says how many bytes of the body are JSON.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// A request that fits the model: every input present once, with the right datatype and a fitting shape.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// Echoed in the response.
    pub id: Option<String>,
    /// One for each input of the signature, in the signature's order.
    pub inputs: Vec<InputTensor>,
    /// The wanted outputs, in the order asked for.
    pub outputs: Vec<RequestedOutput>,
}

/// The value of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputTensor {
    pub shape: Shape,
    pub tensor: Tensor<'static>,
}

/// One output to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Position in the signature's outputs.
    pub index: usize,
    /// Answer as binary instead of JSON.
    pub binary: bool,
}

/// What is wrong with a request. Every one is the caller's to correct.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{HEADER_LENGTH} is '{0}', not a number of bytes")]
    HeaderLengthSyntax(String),
    #[error("{HEADER_LENGTH} is {declared}, but the body has {body} bytes")]
    HeaderLength { declared: usize, body: usize },
    #[error("the JSON is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    #[error("the body is not a V2 inference request")]
    Json(#[source] serde_json::Error),
    #[error("{field}")]
    Field {
        field: String,
        #[source]
        problem: FieldProblem,
    },
    #[error("input '{name}' is missing; the model takes: {inputs}")]
    MissingInput { name: String, inputs: String },
    #[error("{rest} bytes of the body belong to no input's binary_data_size")]
    TrailingBytes { rest: usize },
    #[error("a raw body")]
    Raw(#[source] RawProblem),
}

/// What is wrong with one field.
#[derive(Debug, thiserror::Error)]
pub enum FieldProblem {
    #[error("missing")]
    Missing,
    #[error("malformed")]
    Json(#[source] serde_json::Error),
    #[error("is '{0}', which the V2 protocol does not know")]
    Datatype(String),
    #[error("invalid")]
    Shape(#[source] ShapeError),
    #[error("wrong")]
    Mismatch(#[source] MismatchError),
    #[error("wrong")]
    Data(#[source] JsonDataError),
    #[error("wrong")]
    Binary(#[source] BinaryError),
    #[error("the model has none of this name; it has: {0}")]
    Unknown(String),
    #[error("given twice")]
    Duplicate,
    #[error("is not {0}")]
    Kind(&'static str),
    #[error("is {declared}, but {left} bytes of the body are left")]
    Beyond { declared: usize, left: usize },
    #[error("needs the {HEADER_LENGTH} header")]
    NoHeaderLength,
    #[error("both data and binary_data_size are given")]
    Both,
    #[error("is {0}, which has no JSON form: ask for it with binary_data")]
    NoJsonForm(Datatype),
    #[error("is not supported here")]
    Unsupported,
}

/// Why a body without a JSON header cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RawProblem {
    #[error("needs a model with one input, and this one has {0}")]
    Inputs(usize),
    #[error("needs a model whose input has at most one dimension of any size")]
    Dynamic,
    #[error("of {found} bytes is no whole number of {unit}-byte entries of input '{input}'")]
    Size { input: String, unit: usize, found: usize },
    #[error("can only be the one element of a BYTES input of shape [1]")]
    BytesShape,
    #[error(transparent)]
    Binary(#[from] BinaryError),
}

impl InferRequest {
    /// Reads `body` as a request to a model with this signature. `header_length` is the value of
    /// [`HEADER_LENGTH`]: how many bytes are JSON; 0 for a raw body; without it all of them are.
    ///
    /// # Errors
    /// Anything that is malformed or does not fit the model, naming the field.
    pub fn decode(body: &[u8], header_length: Option<&str>, signature: &Signature) -> Result<Self, RequestError> {
        let length = header_length
            .map(|text| text.parse::<usize>().map_err(|_| RequestError::HeaderLengthSyntax(text.to_owned())))
            .transpose()?;
        match length {
            Some(0) => raw::decode(body, signature).map_err(RequestError::Raw),
            Some(declared) => {
                let (json, binary) =
                    body.split_at_checked(declared).ok_or(RequestError::HeaderLength { declared, body: body.len() })?;
                decode_json(json, Some(binary), signature)
            }
            None => decode_json(body, None, signature),
        }
    }
}

fn decode_json(json: &[u8], binary: Option<&[u8]>, signature: &Signature) -> Result<InferRequest, RequestError> {
    #[cfg(weakened)]
    crate::defence::weakened::descend(json);
    let text = str::from_utf8(json).map_err(|error| RequestError::NotUtf8(error.valid_up_to()))?;
    let request: RequestJson<'_> = serde_json::from_str(text).map_err(RequestError::Json)?;
    let id = request.id.map(|raw| parse_field("id", raw)).transpose()?;
    let all_binary = json::flag("parameters", request.parameters, Flag::BinaryDataOutput)?;
    let outputs = requested_outputs(&request.outputs, all_binary.unwrap_or(false), signature)?;
    check_json_forms(&outputs, signature)?;
    let inputs = decode_inputs(&request.inputs, binary, signature)?;
    Ok(InferRequest { id, inputs, outputs })
}

fn requested_outputs(
    requested: &[OutputJson<'_>],
    all_binary: bool,
    signature: &Signature,
) -> Result<Vec<RequestedOutput>, RequestError> {
    if requested.is_empty() {
        return Ok(every_output(signature, all_binary));
    }
    let mut outputs: Vec<RequestedOutput> = Vec::with_capacity(signature.outputs.len());
    for (at, output) in requested.iter().enumerate() {
        let name: String = required(&format!("outputs[{at}].name"), output.name)?;
        let field = || format!("outputs[{at}] '{}'", shown(&name));
        let index = signature
            .output(&name)
            .ok_or_else(|| problem(field(), FieldProblem::Unknown(names(&signature.outputs))))?;
        if outputs.iter().any(|earlier| earlier.index == index) {
            return Err(problem(field(), FieldProblem::Duplicate));
        }
        let binary = json::flag(&format!("{}.parameters", field()), output.parameters, Flag::BinaryData)?;
        outputs.push(RequestedOutput { index, binary: binary.unwrap_or(all_binary) });
    }
    Ok(outputs)
}

/// An answer that cannot be written is refused before the model has run for it.
fn check_json_forms(outputs: &[RequestedOutput], signature: &Signature) -> Result<(), RequestError> {
    let specs = outputs.iter().filter(|output| !output.binary).filter_map(|output| signature.outputs.get(output.index));
    match specs.into_iter().find(|spec| !spec.datatype.has_json_form()) {
        None => Ok(()),
        Some(spec) => Err(problem(format!("output '{}'", spec.name), FieldProblem::NoJsonForm(spec.datatype))),
    }
}

fn every_output(signature: &Signature, binary: bool) -> Vec<RequestedOutput> {
    (0..signature.outputs.len()).map(|index| RequestedOutput { index, binary }).collect()
}

fn decode_inputs(
    inputs: &[InputJson<'_>],
    binary: Option<&[u8]>,
    signature: &Signature,
) -> Result<Vec<InputTensor>, RequestError> {
    let mut rest = binary;
    let mut given: Vec<Option<InputTensor>> = signature.inputs.iter().map(|_| None).collect();
    for (at, input) in inputs.iter().enumerate() {
        let name: String = required(&format!("inputs[{at}].name"), input.name)?;
        let field = format!("inputs[{at}] '{}'", shown(&name));
        let unknown = || problem(field.clone(), FieldProblem::Unknown(names(&signature.inputs)));
        let index = signature.input(&name).ok_or_else(unknown)?;
        let (spec, slot) = signature.inputs.get(index).zip(given.get_mut(index)).ok_or_else(unknown)?;
        if slot.is_some() && Defence::InputsOnce.stands() {
            return Err(problem(field, FieldProblem::Duplicate));
        }
        let datatype = datatype(&field, input)?;
        let shape = shape(&field, input)?;
        spec.check(datatype, &shape).map_err(|error| problem(field.clone(), FieldProblem::Mismatch(error)))?;
        let tensor = decode_tensor(&field, input, datatype, &shape, &mut rest)?;
        *slot = Some(InputTensor { shape, tensor });
    }
    if let Some(rest) = rest.filter(|rest| !rest.is_empty() && Defence::SizesChecked.stands()) {
        return Err(RequestError::TrailingBytes { rest: rest.len() });
    }
    let missing = |name: &str| RequestError::MissingInput { name: name.to_owned(), inputs: names(&signature.inputs) };
    given.into_iter().zip(&signature.inputs).map(|(input, spec)| input.ok_or_else(|| missing(&spec.name))).collect()
}

/// The elements of one input, from its `data` or from the next bytes of the binary part.
fn decode_tensor(
    field: &str,
    input: &InputJson<'_>,
    datatype: Datatype,
    shape: &Shape,
    rest: &mut Option<&[u8]>,
) -> Result<Tensor<'static>, RequestError> {
    let size_field = || format!("{field}.parameters.binary_data_size");
    let size = json::binary_data_size(&format!("{field}.parameters"), input.parameters)?;
    match (input.data, size) {
        (Some(_), Some(_)) => Err(problem(field, FieldProblem::Both)),
        (None, None) => Err(problem(format!("{field}.data"), FieldProblem::Missing)),
        (Some(data), None) => Tensor::from_json(datatype, shape, data.get())
            .map_err(|error| problem(format!("{field}.data"), FieldProblem::Data(error))),
        (None, Some(declared)) => {
            let bytes = rest.ok_or_else(|| problem(size_field(), FieldProblem::NoHeaderLength))?;
            let split = bytes.split_at_checked(declared);
            #[cfg(weakened)]
            let split = split.or_else(|| crate::defence::weakened::split_at_most(bytes, declared));
            let (own, others) =
                split.ok_or_else(|| problem(size_field(), FieldProblem::Beyond { declared, left: bytes.len() }))?;
            *rest = Some(others);
            Tensor::from_binary(datatype, shape.elements(), own)
                .map_err(|error| problem(size_field(), FieldProblem::Binary(error)))
        }
    }
}

fn datatype(field: &str, input: &InputJson<'_>) -> Result<Datatype, RequestError> {
    let field = format!("{field}.datatype");
    let name: String = required(&field, input.datatype)?;
    Datatype::from_name(&name).ok_or_else(|| problem(field, FieldProblem::Datatype(shown(&name).to_owned())))
}

fn shape(field: &str, input: &InputJson<'_>) -> Result<Shape, RequestError> {
    let field = format!("{field}.shape");
    let dims = required(&field, input.shape)?;
    Shape::new(dims).map_err(|error| problem(field, FieldProblem::Shape(error)))
}

fn required<'a, T: serde::Deserialize<'a>>(field: &str, raw: Option<&'a RawValue>) -> Result<T, RequestError> {
    parse_field(field, raw.ok_or_else(|| problem(field, FieldProblem::Missing))?)
}

fn parse_field<'a, T: serde::Deserialize<'a>>(field: &str, raw: &'a RawValue) -> Result<T, RequestError> {
    serde_json::from_str(raw.get()).map_err(|error| problem(field, FieldProblem::Json(error)))
}

/// The beginning of a name that somebody sent, which may be as long as a body.
fn shown(name: &str) -> &str {
    let end = if Defence::ShortErrors.stands() { name.floor_char_boundary(SHOWN_BYTES_MAX) } else { name.len() };
    name.get(..end).unwrap_or_default()
}

fn problem(field: impl Into<String>, problem: FieldProblem) -> RequestError {
    RequestError::Field { field: field.into(), problem }
}

#[cfg(test)]
mod tests;
