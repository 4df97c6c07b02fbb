use std::fmt;

use serde::Serialize;

/// Something a person should know about how a manifest was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "note")]
pub enum Note {
    /// The manifest says something that has no effect here.
    Ignored { path: String, reason: String },
    /// The manifest is silent, and what that means here is not what it means to its `standard`.
    Differs { path: String, here: String, standard: &'static str, there: String },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored { path, reason } => write!(f, "{path} is not honoured: {reason}"),
            Self::Differs { path, here, standard, there } => {
                write!(f, "{path} is not set: {here} is used, where {standard} would use {there}")
            }
        }
    }
}
