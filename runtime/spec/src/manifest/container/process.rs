//! What a container's process is given: `command`, `args` and its variables.

use crate::WORDS_MAX;

use super::{
    super::{ManifestError, Note, field::Field},
    env::{self, Env},
    port::Port,
    sources::Sources,
    texts::Texts,
};

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Env,
}

/// The fields of a container that say what its process is given.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) command: Option<Field>,
    pub(super) args: Option<Field>,
    pub(super) env: env::Written,
}

impl Written {
    pub(super) fn read(
        self,
        port: &mut Port,
        sources: &Sources<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<Process, ManifestError> {
        let mut texts = Texts::new();
        let env = self.env.read(port, sources, &mut texts, notes)?;
        for (name, value) in sources.owner.given_variables(port.number) {
            texts.know(name, value);
        }
        let mut words = |field: Option<Field>| field.map(|field| words(field, &mut texts)).transpose();
        let command = words(self.command)?.unwrap_or_default();
        let args = words(self.args)?.unwrap_or_default();
        Ok(Process { command, args, env })
    }
}

fn words(field: Field, texts: &mut Texts) -> Result<Vec<String>, ManifestError> {
    field.list_of(WORDS_MAX)?.iter().map(|word| texts.word(word)).collect()
}
