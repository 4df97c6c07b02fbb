//! Fields that are known by name and not honoured. A field is refused where leaving it out would
//! change what clients are answered, run less or more than was asked for, or promise what is not
//! given; it is noted where it only says how a cluster would run it.

use super::document::Value;

/// What happens to fields that are known and not honoured.
#[derive(Debug, Clone, Copy)]
pub(super) enum Treatment {
    Ignored,
    Refused,
}

/// Fields of one mapping that share a reason.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) treatment: Treatment,
    pub(super) reason: &'static str,
    pub(super) names: &'static [&'static str],
    /// The value that asks for what is done anyway, and passes without a word.
    unless: Option<Plain>,
}

/// A value that needs no reading.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plain {
    Bool(bool),
    Text(&'static str),
}

pub(super) const FALSE: Plain = Plain::Bool(false);

pub(super) const fn ignored(reason: &'static str, names: &'static [&'static str]) -> Known {
    Known { treatment: Treatment::Ignored, reason, names, unless: None }
}

pub(super) const fn refused(reason: &'static str, names: &'static [&'static str]) -> Known {
    Known { treatment: Treatment::Refused, reason, names, unless: None }
}

impl Known {
    pub(super) const fn unless(self, plain: Plain) -> Self {
        Self { unless: Some(plain), ..self }
    }

    /// An empty list asks for nothing, whatever it is a list of.
    pub(super) fn is_done_anyway(&self, value: &Value) -> bool {
        match (self.unless, value) {
            (_, Value::List(items)) => items.is_empty(),
            (Some(Plain::Bool(plain)), Value::Bool(value)) => plain == *value,
            (Some(Plain::Text(plain)), Value::Text(value)) => plain == value,
            _ => false,
        }
    }
}
