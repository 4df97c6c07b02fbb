//! `envFrom`: all that config maps and secrets hold, as variables.

use std::collections::BTreeMap;

use crate::ENV_MAX;

use super::{
    super::{
        ManifestError, Note, Problem,
        field::{Field, Mapping},
        knative,
        objects::{Kind, Object},
        pod_spec::Standard,
    },
    sources::Sources,
};

/// Items of one container.
const ITEMS_MAX: usize = 64;

/// The value of a variable, and the item that it is from.
pub(super) struct Taken {
    pub(super) value: String,
    pub(super) item: Field,
}

/// By their names. Of a name, the last counts.
pub(super) fn read(
    field: Field,
    sources: &Sources<'_>,
    notes: &mut Vec<Note>,
) -> Result<BTreeMap<String, Taken>, ManifestError> {
    let mut variables = BTreeMap::new();
    for item in field.list_of(ITEMS_MAX)? {
        let Some((object, prefix)) = read_item(item.clone(), sources)? else { continue };
        let mut skipped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (key, contents) in object.texts() {
            let name = format!("{prefix}{key}");
            if let Some(reason) = why_skipped(&name, sources) {
                skipped.entry(reason).or_default().push(name);
                continue;
            }
            let Ok(value) = str::from_utf8(contents.bytes()) else {
                let reason = format!("what `{key}` holds is no UTF-8, which no variable can be: mount it as a file");
                return Err(item.unsupported(reason));
            };
            variables.insert(name, Taken { value: value.to_owned(), item: item.clone() });
        }
        for (reason, names) in skipped {
            item.note_ignored(&format!("{}: {reason}", counted(&names)), notes);
        }
        if variables.len() > ENV_MAX {
            return Err(item.fail(Problem::TooMany { count: variables.len(), max: ENV_MAX }));
        }
    }
    Ok(variables)
}

/// What is named, if it is there, and what comes before its keys.
fn read_item<'a>(item: Field, sources: &Sources<'a>) -> Result<Option<(&'a Object, String)>, ManifestError> {
    let mut item = item.mapping()?;
    let (config_map, secret) = (item.take("configMapRef"), item.take("secretRef"));
    let (prefix, missing) = (item.take("prefix"), item.missing("configMapRef"));
    item.finish(&[], &mut Vec::new())?;
    let prefix = match &prefix {
        Some(prefix) if prefix.text()?.is_empty() || is_name(prefix.text()?) => prefix.text()?.to_owned(),
        Some(prefix) => return Err(prefix.unsupported("no variable's name begins with it")),
        None => String::new(),
    };
    let (kind, named) = match (config_map, secret) {
        (Some(_), Some(secret)) => return Err(secret.unsupported("the item has a `configMapRef` too: write two items")),
        (Some(config_map), None) => (Kind::ConfigMap, config_map.mapping()?),
        (None, Some(secret)) => (Kind::Secret, secret.mapping()?),
        (None, None) => return Err(missing),
    };
    let (name, optional) = read_reference(named)?;
    Ok(sources.owner.objects.find(kind, &name, optional)?.map(|object| (object, prefix)))
}

fn read_reference(mut reference: Mapping) -> Result<(Field, bool), ManifestError> {
    let (name, optional) = (reference.required("name")?, reference.take("optional"));
    reference.finish(&[], &mut Vec::new())?;
    Ok((name, optional.map(|field| field.boolean()).transpose()?.unwrap_or(false)))
}

/// Why a key becomes no variable.
fn why_skipped(name: &str, sources: &Sources<'_>) -> Option<&'static str> {
    let is_port = sources.owner.standard == Standard::Knative && name == knative::PORT_VARIABLE;
    if !is_name(name) {
        Some("no variable has such a name")
    } else if is_port || knative::RESERVED_VARIABLES.contains(&name) {
        Some("every container is given it, with a value of the node's")
    } else {
        None
    }
}

/// A word for all of them, however many there are.
fn counted(names: &[String]) -> String {
    match names {
        [first, others @ ..] if !others.is_empty() => format!("`{first}` and {} more", others.len()),
        names => format!("`{}`", names.concat()),
    }
}

/// As a kubelet takes it: letters, digits, `-`, `_` and `.`, and no digit first.
fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.bytes().all(inside)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name != "."
        && !name.starts_with("..")
}
