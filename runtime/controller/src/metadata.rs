use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a worker said of its model: JSON, kept as text that all holders share. As a tree it would take twenty
/// times as much, in every endpoint at rest, and hardly anybody asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub struct Metadata(Arc<str>);

impl Metadata {
    #[must_use]
    pub fn value(&self) -> Value {
        // It was written by `From<Value>`, so that it can be read.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// `null`, until a worker has been asked.
impl Default for Metadata {
    fn default() -> Self {
        Value::Null.into()
    }
}

impl From<Value> for Metadata {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<Metadata> for Value {
    fn from(metadata: Metadata) -> Self {
        metadata.value()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_said_comes_back_as_it_was() {
        let value = json!({ "name": "m", "inputs": [{ "name": "x", "datatype": "FP32", "shape": [-1, 16] }] });
        let metadata = Metadata::from(value.clone());
        assert_eq!(metadata.value(), value);
        assert_eq!(serde_json::to_value(&metadata).unwrap(), value);
        assert_eq!(serde_json::from_value::<Metadata>(value).unwrap(), metadata);
        assert_eq!(Metadata::default().value(), Value::Null);
    }
}
