//! A probe that runs a command in the container.

use crate::{ProbeHandler, WORDS_MAX};

use super::super::{ManifestError, Problem, field::Field};

/// The words are taken as they are: as in Kubernetes no `$(NAME)` is put in, and no shell reads them.
pub(super) fn read(field: Field) -> Result<ProbeHandler, ManifestError> {
    let mut exec = field.mapping()?;
    let (command, missing) = (exec.take("command"), exec.missing("command"));
    exec.finish(&[], &mut Vec::new())?;
    let command = command.ok_or(missing)?;
    let empty = command.unsupported("the first of its words is a program");
    let words = command.list_of(WORDS_MAX)?.iter().map(read_word).collect::<Result<Vec<_>, _>>()?;
    if words.first().is_none_or(String::is_empty) {
        return Err(empty);
    }
    Ok(ProbeHandler::Exec { command: words })
}

fn read_word(field: &Field) -> Result<String, ManifestError> {
    match field.text()? {
        word if word.contains('\0') => Err(field.fail(Problem::Nul)),
        word => Ok(word.to_owned()),
    }
}
