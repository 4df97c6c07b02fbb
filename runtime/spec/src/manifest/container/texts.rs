use std::collections::HashMap;

use crate::PROCESS_BYTES_MAX;

use super::{
    super::{ManifestError, Problem, field::Field},
    expansion::expand,
};

/// What a process is given, expanded and counted as it is read.
pub(super) struct Texts {
    left: usize,
    values: HashMap<String, String>,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self { left: PROCESS_BYTES_MAX, values: HashMap::new() }
    }

    pub(super) fn word(&mut self, field: &Field) -> Result<String, ManifestError> {
        let word = self.expanded(field)?;
        self.take_room(field, word.len())?;
        Ok(word)
    }

    pub(super) fn expanded(&self, field: &Field) -> Result<String, ManifestError> {
        let text = field.any_text()?;
        if text.contains('\0') {
            return Err(field.fail(Problem::Nul));
        }
        let value_of = |name: &str| self.values.get(name).map(String::as_str);
        expand(text, self.left, value_of).ok_or_else(|| field.fail(Problem::ProcessTooLarge))
    }

    /// Counts a variable, which is known from then on.
    pub(super) fn variable(&mut self, field: &Field, name: &str, value: &str) -> Result<(), ManifestError> {
        self.take_room(field, name.len() + value.len() + "=".len())?;
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// A variable that somebody else gives.
    pub(super) fn know(&mut self, name: &str, value: String) {
        self.values.entry(name.to_owned()).or_insert(value);
    }

    fn take_room(&mut self, field: &Field, bytes: usize) -> Result<(), ManifestError> {
        // Each ends with a NUL where the process finds it.
        self.left = self.left.checked_sub(bytes + 1).ok_or_else(|| field.fail(Problem::ProcessTooLarge))?;
        Ok(())
    }
}
