//! What a container's process is given: `command`, `args` and `env`.

use std::collections::HashMap;

use crate::{ENV_MAX, EnvVar, PROCESS_BYTES_MAX, WORDS_MAX};

use super::{
    super::{
        ManifestError, Problem,
        field::Field,
        knative, kubernetes,
        pod_spec::{Owner, Standard},
    },
    expansion::expand,
    port::Port,
};

const STORAGE_URI: &str = "STORAGE_URI";

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<EnvVar>,
}

/// The fields of a container that say what its process is given.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) command: Option<Field>,
    pub(super) args: Option<Field>,
    pub(super) env: Option<Field>,
}

impl Written {
    /// A port that only a variable tells becomes that of `port`.
    pub(super) fn read(self, port: &mut Port, owner: &Owner<'_>) -> Result<Process, ManifestError> {
        let mut texts = Texts { left: PROCESS_BYTES_MAX, values: HashMap::new() };
        let env = self.env.map(|env| variables(env, port, owner, &mut texts)).transpose()?.unwrap_or_default();
        for (name, value) in owner.given_variables(port.number) {
            texts.values.entry(name.to_owned()).or_insert(value);
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

fn variables(
    field: Field,
    port: &mut Port,
    owner: &Owner<'_>,
    texts: &mut Texts,
) -> Result<Vec<EnvVar>, ManifestError> {
    field.list_of(ENV_MAX)?.into_iter().map(|item| variable(item, port, owner, texts)).collect()
}

fn variable(item: Field, port: &mut Port, owner: &Owner<'_>, texts: &mut Texts) -> Result<EnvVar, ManifestError> {
    let mut variable = item.mapping()?;
    let name = variable.required("name")?;
    let (value, value_from) = (variable.take("value"), variable.take("valueFrom"));
    variable.finish(&[], &mut Vec::new())?;
    refuse_reserved(&name, owner)?;
    let text = match (&value, value_from) {
        (Some(_), Some(from)) => return Err(from.unsupported("the variable has a `value` too")),
        (None, Some(from)) => referred(from, owner)?,
        (Some(value), None) => texts.expanded(value)?,
        (None, None) => String::new(),
    };
    if name.is(knative::PORT_VARIABLE) {
        port.told_by(&name, &text)?;
    }
    let known = name.text()?.to_owned();
    texts.take_room(&name, known.len() + text.len() + "=".len())?;
    texts.values.insert(known.clone(), text.clone());
    EnvVar::new(known, text).map_err(|error| name.fail(Problem::EnvVar(error)))
}

fn refuse_reserved(name: &Field, owner: &Owner<'_>) -> Result<(), ManifestError> {
    if knative::RESERVED_VARIABLES.iter().any(|reserved| name.is(reserved)) {
        return Err(name.unsupported("every container is given it, with a value of the node's"));
    }
    match owner.standard {
        Standard::Knative if name.is(knative::PORT_VARIABLE) => {
            Err(name.unsupported("every container is given it; write the port under `ports`"))
        }
        Standard::KServe if name.is(STORAGE_URI) => {
            Err(name.unsupported("nothing is put under /mnt/models: not yet; put the model into the image"))
        }
        _ => Ok(()),
    }
}

/// The value of a variable that is a field of its pod.
fn referred(from: Field, owner: &Owner<'_>) -> Result<String, ManifestError> {
    let mut from = from.mapping()?;
    let field = from.take("fieldRef");
    let missing = from.missing("fieldRef");
    from.finish(&[kubernetes::VALUE_FROM], &mut Vec::new())?;
    let mut field = field.ok_or(missing)?.mapping()?;
    let path = field.required("fieldPath")?;
    field.finish(&[kubernetes::FIELD_REF], &mut Vec::new())?;
    match (path.text()?, owner.standard) {
        ("metadata.namespace", _) => Ok(owner.namespace.to_owned()),
        ("metadata.name", Standard::Kubernetes) => Ok(owner.name.to_string()),
        ("metadata.name", _) => Err(path.unsupported("the pods of this kind have names that nobody wrote: not yet")),
        (other, _) => Err(path.unsupported(format!("`{other}`: only metadata.name and metadata.namespace are known"))),
    }
}

/// Texts are expanded and counted as they are read.
struct Texts {
    left: usize,
    values: HashMap<String, String>,
}

impl Texts {
    fn word(&mut self, field: &Field) -> Result<String, ManifestError> {
        let word = self.expanded(field)?;
        self.take_room(field, word.len())?;
        Ok(word)
    }

    fn expanded(&self, field: &Field) -> Result<String, ManifestError> {
        let text = field.any_text()?;
        if text.contains('\0') {
            return Err(field.fail(Problem::Nul));
        }
        let value_of = |name: &str| self.values.get(name).map(String::as_str);
        expand(text, self.left, value_of).ok_or_else(|| field.fail(Problem::ProcessTooLarge))
    }

    fn take_room(&mut self, field: &Field, bytes: usize) -> Result<(), ManifestError> {
        // Each ends with a NUL where the process finds it.
        self.left = self.left.checked_sub(bytes + 1).ok_or_else(|| field.fail(Problem::ProcessTooLarge))?;
        Ok(())
    }
}
