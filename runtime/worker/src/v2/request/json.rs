//! The JSON of a request, one level deep: fields stay raw text until someone who can name them reads them.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{FieldProblem, RequestError, parse_field, problem, shown};

#[derive(Deserialize)]
#[serde(expecting = "an object with inputs")]
pub(super) struct RequestJson<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) inputs: Vec<InputJson<'a>>,
    #[serde(borrow, default)]
    pub(super) outputs: Vec<OutputJson<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an input: an object with name, shape, datatype and data")]
pub(super) struct InputJson<'a> {
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) shape: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) datatype: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an output: an object with a name")]
pub(super) struct OutputJson<'a> {
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) parameters: Option<&'a RawValue>,
}

/// The parameters that are true or false.
#[derive(Clone, Copy)]
pub(super) enum Flag {
    /// On the request: answer every output as binary.
    BinaryDataOutput,
    /// On one output: answer it as binary, or not.
    BinaryData,
}

impl Flag {
    fn key(self) -> &'static str {
        match self {
            Self::BinaryDataOutput => "binary_data_output",
            Self::BinaryData => "binary_data",
        }
    }
}

const BINARY_DATA_SIZE: &str = "binary_data_size";

/// Parameters that change where data lives or what is answered. Ignoring them would answer something else than was
/// asked for.
const UNSUPPORTED: [&str; 4] =
    ["shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "classification"];

/// Reads one flag out of a `parameters` object; `None` if it is not there.
pub(super) fn flag(field: &str, raw: Option<&RawValue>, flag: Flag) -> Result<Option<bool>, RequestError> {
    match parameters(field, raw)?.get(flag.key()) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(problem(format!("{field}.{}", flag.key()), FieldProblem::Kind("true or false"))),
    }
}

/// Reads `binary_data_size` out of a `parameters` object; `None` if it is not there.
pub(super) fn binary_data_size(field: &str, raw: Option<&RawValue>) -> Result<Option<usize>, RequestError> {
    let parameters = parameters(field, raw)?;
    let Some(value) = parameters.get(BINARY_DATA_SIZE) else { return Ok(None) };
    let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
    let not_a_size = || problem(format!("{field}.{BINARY_DATA_SIZE}"), FieldProblem::Kind("a number of bytes"));
    size.map(Some).ok_or_else(not_a_size)
}

/// A `parameters` object: names with strings, numbers and booleans. Unknown names are accepted, as the protocol
/// leaves them to the server.
fn parameters(field: &str, raw: Option<&RawValue>) -> Result<Map<String, Value>, RequestError> {
    let Some(raw) = raw else { return Ok(Map::new()) };
    let parameters: Map<String, Value> = parse_field(field, raw)?;
    for (name, value) in &parameters {
        if UNSUPPORTED.contains(&name.as_str()) {
            return Err(problem(format!("{field}.{}", shown(name)), FieldProblem::Unsupported));
        }
        if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
            return Err(problem(format!("{field}.{}", shown(name)), FieldProblem::Kind("a string, number or boolean")));
        }
    }
    Ok(parameters)
}
