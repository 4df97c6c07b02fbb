//! The variables of a container: `envFrom`, and over it `env`.

use crate::{ENV_MAX, EnvVar};

use super::{
    super::{
        ManifestError, Note, Problem,
        field::Field,
        knative,
        pod_spec::{Owner, Standard},
    },
    env_from,
    port::Port,
    sources::Sources,
    storage_uri::{self, Storage},
    texts::Texts,
    value_from,
};

#[derive(Debug, Default)]
pub(super) struct Env {
    pub(super) variables: Vec<EnvVar>,
    /// What a variable has mounted.
    pub(super) storage: Option<Storage>,
}

/// The fields of a container that say what its variables are.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) env: Option<Field>,
    pub(super) env_from: Option<Field>,
}

impl Written {
    /// A port that only a variable tells becomes that of `port`.
    pub(super) fn read(
        self,
        port: &mut Port,
        sources: &Sources<'_>,
        texts: &mut Texts,
        notes: &mut Vec<Note>,
    ) -> Result<Env, ManifestError> {
        let mut env = Env::default();
        let taken = self.env_from.map(|from| env_from::read(from, sources, notes)).transpose()?.unwrap_or_default();
        for (name, env_from::Taken { value, item }) in taken {
            env.add(&item, name, value, port, texts)?;
        }
        for item in self.env.map(|env| env.list_of(ENV_MAX)).transpose()?.unwrap_or_default() {
            env.read(item, port, sources, texts)?;
        }
        Ok(env)
    }
}

impl Env {
    fn read(
        &mut self,
        item: Field,
        port: &mut Port,
        sources: &Sources<'_>,
        texts: &mut Texts,
    ) -> Result<(), ManifestError> {
        let mut variable = item.mapping()?;
        let name = variable.required("name")?;
        let (value, value_from) = (variable.take("value"), variable.take("valueFrom"));
        variable.finish(&[], &mut Vec::new())?;
        refuse_reserved(&name, sources.owner)?;
        let is_storage = sources.owner.standard == Standard::KServe && name.is(storage_uri::VARIABLE);
        let text = match (&value, value_from) {
            (Some(_), Some(from)) => return Err(from.unsupported("the variable has a `value` too")),
            _ if is_storage && self.storage.is_some() => return Err(name.unsupported("one model is mounted")),
            (None, Some(from)) if is_storage => return Err(from.unsupported(storage_uri::WRITE_VALUE)),
            (None, Some(from)) => match value_from::read(from, sources)? {
                Some(text) => text,
                None => return Ok(()),
            },
            (Some(value), None) if is_storage && !value.is("") => {
                self.storage = Some(storage_uri::read(name.clone(), value, &texts.expanded(value)?)?);
                storage_uri::MOUNT_PATH.to_owned()
            }
            (Some(value), None) => texts.expanded(value)?,
            (None, None) => String::new(),
        };
        self.add(&name, name.text()?.to_owned(), text, port, texts)
    }

    fn add(
        &mut self,
        field: &Field,
        name: String,
        value: String,
        port: &mut Port,
        texts: &mut Texts,
    ) -> Result<(), ManifestError> {
        if name == knative::PORT_VARIABLE {
            port.told_by(field, &value)?;
        }
        texts.variable(field, &name, &value)?;
        if self.variables.len() == ENV_MAX {
            return Err(field.fail(Problem::TooMany { count: ENV_MAX + 1, max: ENV_MAX }));
        }
        self.variables.push(EnvVar::new(name, value).map_err(|error| field.fail(Problem::EnvVar(error)))?);
        Ok(())
    }
}

fn refuse_reserved(name: &Field, owner: &Owner<'_>) -> Result<(), ManifestError> {
    if knative::RESERVED_VARIABLES.iter().any(|reserved| name.is(reserved)) {
        return Err(name.unsupported("every container is given it, with a value of the node's"));
    }
    match owner.standard {
        Standard::Knative if name.is(knative::PORT_VARIABLE) => {
            Err(name.unsupported("every container is given it; write the port under `ports`"))
        }
        _ => Ok(()),
    }
}
