use std::time::Duration;

use crate::EndpointRequest;

use super::{
    ManifestError, Note, Position, Problem,
    document::{Node, Value},
    known::{Known, Treatment},
    spelling,
};

/// As long as a path may be.
const TEXT_BYTES_MAX: usize = 4096;
/// A year, as for every other duration.
pub(super) const SECONDS_MAX: u32 = 366 * 24 * 3600;

/// A field that is present: an explicit null counts as absent, as it does to Kubernetes.
#[derive(Debug, Clone)]
pub(super) struct Field {
    path: String,
    at: Position,
    value: Value,
}

/// A mapping whose fields are taken out one by one, so that what is left was honoured by nobody.
#[derive(Debug)]
pub(super) struct Mapping {
    path: String,
    at: Position,
    entries: Vec<(String, Node)>,
    asked_for: Vec<&'static str>,
}

impl Field {
    pub(super) fn root(document: Node) -> Self {
        Self { path: String::new(), at: document.at, value: document.value }
    }

    pub(super) fn fail(&self, problem: impl Into<Problem>) -> ManifestError {
        ManifestError::Field {
            at: self.at,
            path: if self.path.is_empty() { "the document".to_owned() } else { self.path.clone() },
            problem: Box::new(problem.into()),
        }
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> ManifestError {
        self.fail(Problem::Unsupported(reason.into()))
    }

    fn wrong_type(&self, expected: &'static str) -> ManifestError {
        self.fail(Problem::WrongType { expected, found: self.value.kind() })
    }

    pub(super) fn note_ignored(&self, reason: &str, notes: &mut Vec<Note>) {
        notes.push(Note::Ignored { path: self.path.clone(), reason: reason.to_owned() });
    }

    pub(super) fn is(&self, text: &str) -> bool {
        matches!(&self.value, Value::Text(value) if value == text)
    }

    /// A text that is honoured, and may be repeated in an error.
    pub(super) fn text(&self) -> Result<&str, ManifestError> {
        let text = self.any_text()?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(self.fail(Problem::TooLong { bytes: text.len(), max: TEXT_BYTES_MAX }));
        }
        Ok(text)
    }

    /// A text of whatever length.
    pub(super) fn any_text(&self) -> Result<&str, ManifestError> {
        match &self.value {
            Value::Text(text) => Ok(text),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => Err(self.wrong_type("text, in quotes")),
            _ => Err(self.wrong_type("text")),
        }
    }

    /// A number or a text, for quantities, which are written either way.
    pub(super) fn scalar(&self) -> Result<String, ManifestError> {
        match &self.value {
            Value::Text(_) => self.text().map(str::to_owned),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Float(number) => Ok(number.to_string()),
            _ => Err(self.wrong_type("a quantity")),
        }
    }

    /// A whole number from `min` to `max`; `expected` says so in words.
    pub(super) fn count(&self, min: u32, max: u32, expected: &'static str) -> Result<u32, ManifestError> {
        let Value::Integer(value) = self.value else { return Err(self.wrong_type("a whole number")) };
        u32::try_from(value)
            .ok()
            .filter(|count| (min..=max).contains(count))
            .ok_or_else(|| self.fail(Problem::OutOfRange { value, expected }))
    }

    /// Whole seconds from `min` to a year; `expected` says so in words.
    pub(super) fn seconds(&self, min: u32, expected: &'static str) -> Result<Duration, ManifestError> {
        self.count(min, SECONDS_MAX, expected).map(|seconds| Duration::from_secs(seconds.into()))
    }

    pub(super) fn boolean(&self) -> Result<bool, ManifestError> {
        match self.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    pub(super) fn list(self) -> Result<Vec<Self>, ManifestError> {
        let Value::List(items) = self.value else { return Err(self.wrong_type("a list")) };
        let item = |(index, node): (usize, Node)| Self {
            path: format!("{}[{index}]", self.path),
            at: node.at,
            value: node.value,
        };
        Ok(items.into_iter().enumerate().map(item).collect())
    }

    /// The items of a list that is honoured, `max` of them at most.
    pub(super) fn list_of(self, max: usize) -> Result<Vec<Self>, ManifestError> {
        match &self.value {
            Value::List(items) if items.len() > max => Err(self.fail(Problem::TooMany { count: items.len(), max })),
            _ => self.list(),
        }
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.value, Value::List(items) if items.is_empty())
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self.value, Value::Integer(_))
    }

    pub(super) fn mapping(self) -> Result<Mapping, ManifestError> {
        match self.value {
            Value::Mapping(entries) => Ok(Mapping { path: self.path, at: self.at, entries, asked_for: Vec::new() }),
            _ => Err(self.wrong_type("a mapping")),
        }
    }

    /// The fields of a mapping whose keys somebody chose. One that holds nothing is among them, so that it is missed.
    pub(super) fn entries(self) -> Result<Vec<(String, Self)>, ManifestError> {
        let Mapping { path, entries, .. } = self.mapping()?;
        let entry = |(key, node): (String, Node)| {
            let field = field(&path, &key, node);
            (key, field)
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// Makes the setting that the annotation `key` stands for.
    pub(super) fn annotate(&self, key: &str, request: &mut EndpointRequest) -> Result<(), ManifestError> {
        request.annotate(key, self.text()?).map_err(|source| {
            let keys = crate::ANNOTATION_KEYS.into_iter().chain(crate::ANNOTATION_KEYS_OF_IMAGES);
            let nearest = spelling::nearest(key, keys.filter(|_| source == crate::AnnotationError::Unknown));
            self.fail(Problem::Annotation { source, nearest })
        })
    }
}

impl Mapping {
    pub(super) fn take(&mut self, name: &'static str) -> Option<Field> {
        self.asked_for.push(name);
        let index = self.entries.iter().position(|(key, _)| key == name)?;
        let (key, node) = self.entries.remove(index);
        Some(field(&self.path, &key, node)).filter(|field| !matches!(field.value, Value::Null))
    }

    pub(super) fn missing(&self, name: &'static str) -> ManifestError {
        self.fail(Problem::Missing(name))
    }

    pub(super) fn fail(&self, problem: Problem) -> ManifestError {
        Field { path: self.path.clone(), at: self.at, value: Value::Null }.fail(problem)
    }

    pub(super) fn required(&mut self, name: &'static str) -> Result<Field, ManifestError> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    /// The fields that nobody took, as they are written.
    pub(super) fn into_fields(self) -> impl Iterator<Item = (String, Field)> {
        let path = self.path;
        self.entries
            .into_iter()
            .map(move |(key, node)| {
                let field = field(&path, &key, node);
                (key, field)
            })
            .filter(|(_, field)| !matches!(field.value, Value::Null))
    }

    /// Deals with the fields that nobody took: a known one is noted or refused as `known` says, any
    /// other is an error, as it is to `kubectl apply`.
    pub(super) fn finish(self, known: &[&'static [Known]], notes: &mut Vec<Note>) -> Result<(), ManifestError> {
        let known_names = known.iter().copied().flatten().flat_map(|group| group.names).copied();
        let names = self.asked_for.clone().into_iter().chain(known_names);
        let names: Vec<&'static str> = names.collect();
        self.finish_where(known, notes, |key, field, _| {
            Err(field.fail(Problem::Unknown { nearest: spelling::nearest(key, names.iter().copied()) }))
        })
    }

    /// As [`Self::finish`], where `otherwise` deals with the fields that are not in `known`.
    pub(super) fn finish_where(
        self,
        known: &[&'static [Known]],
        notes: &mut Vec<Note>,
        otherwise: impl Fn(&str, &Field, &mut Vec<Note>) -> Result<(), ManifestError>,
    ) -> Result<(), ManifestError> {
        for (key, field) in self.into_fields() {
            match known.iter().copied().flatten().find(|group| group.names.contains(&key.as_str())) {
                Some(group) if group.is_done_anyway(&field.value) => {}
                Some(Known { treatment: Treatment::Ignored, reason, .. }) => field.note_ignored(reason, notes),
                Some(Known { treatment: Treatment::Refused, reason, .. }) => {
                    return Err(field.unsupported(*reason));
                }
                None => otherwise(&key, &field, notes)?,
            }
        }
        Ok(())
    }
}

fn field(parent: &str, key: &str, node: Node) -> Field {
    let path = match (parent, key.contains(['.', '/'])) {
        (_, true) => format!("{parent}[{key}]"),
        ("", false) => key.to_owned(),
        (_, false) => format!("{parent}.{key}"),
    };
    Field { path, at: node.at, value: node.value }
}
