//! The config maps and secrets of a file, which its other documents name.

mod data;
mod object;

use super::{
    ManifestError, Note,
    field::{Field, Mapping},
};

pub(super) use object::Object;

pub(super) const CONFIG_MAP: &str = "ConfigMap";
pub(super) const SECRET: &str = "Secret";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => CONFIG_MAP,
            Self::Secret => SECRET,
        }
    }
}

/// All of a file. They have one namespace, as endpoints have.
#[derive(Debug, Default)]
pub(super) struct Objects(Vec<Object>);

impl Objects {
    pub(super) fn read(&mut self, kind: Kind, root: Mapping) -> Result<(), ManifestError> {
        let (object, name) = Object::read(kind, root)?;
        if self.0.iter().any(|other| other.is(kind, &object.name)) {
            return Err(name.unsupported(format!("two documents of the file are a {} of this name", kind.name())));
        }
        self.0.push(object);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object that is meant by `name`. None: there is none, and there need not be.
    pub(super) fn find(&self, kind: Kind, name: &Field, optional: bool) -> Result<Option<&Object>, ManifestError> {
        let text = name.text()?;
        match self.0.iter().find(|object| object.is(kind, text)) {
            Some(object) => {
                object.used.set(true);
                Ok(Some(object))
            }
            None if optional => Ok(None),
            None => Err(name.unsupported(format!(
                "the file has no {} of this name: write it in the same file, or `optional: true` here",
                kind.name()
            ))),
        }
    }

    /// What of them was not honoured. They are no endpoints, so that it is told with one of these.
    pub(super) fn into_notes(self) -> Vec<Note> {
        self.0.into_iter().flat_map(Object::into_notes).collect()
    }
}
