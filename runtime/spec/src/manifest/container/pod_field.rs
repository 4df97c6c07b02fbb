//! `fieldRef`: a field of the pod as the value of a variable, or in a file.

use super::{
    super::{
        ManifestError,
        field::Field,
        kubernetes,
        metadata::{self, Texts},
        pod_spec::{Owner, Standard},
    },
    sources::Place,
};

const KNOWN: &str =
    "only metadata.name, metadata.namespace, metadata.labels['KEY'] and metadata.annotations['KEY'] are known";

pub(super) fn read(field: Field, owner: &Owner<'_>, place: Place) -> Result<String, ManifestError> {
    let mut field = field.mapping()?;
    let path = field.required("fieldPath")?;
    field.finish(&[kubernetes::FIELD_REF], &mut Vec::new())?;
    let text = path.text()?;
    if let Some((of, key)) = text.strip_suffix("']").and_then(|text| text.split_once("['")) {
        return match of {
            "metadata.labels" => one_of(owner.labels, key, &path),
            "metadata.annotations" => one_of(owner.annotations, key, &path),
            _ => Err(path.unsupported(KNOWN)),
        };
    }
    match (text, place) {
        ("metadata.namespace", _) => Ok(owner.namespace.to_owned()),
        ("metadata.name", _) if owner.standard == Standard::Kubernetes => Ok(owner.name.to_string()),
        ("metadata.name", _) => Err(path.unsupported("the pods of this kind have names that nobody wrote: not yet")),
        ("metadata.labels", Place::File) => Ok(listed(owner.labels)),
        ("metadata.annotations", Place::File) => Ok(listed(owner.annotations)),
        ("metadata.labels" | "metadata.annotations", Place::Variable) => {
            Err(path.unsupported(format!("a variable holds one of them: write `{text}['KEY']`")))
        }
        _ => Err(path.unsupported(reason(text))),
    }
}

fn reason(path: &str) -> &'static str {
    match path {
        "metadata.uid" => "a replica has no uid",
        "spec.nodeName" | "status.hostIP" | "status.hostIPs" => {
            "a replica is not told which node it is on; write `value`"
        }
        "spec.serviceAccountName" => "no service account exists",
        "status.podIP" | "status.podIPs" => {
            "a replica has no address that others reach: requests come through the gateway"
        }
        _ => KNOWN,
    }
}

/// One that is not there is empty, as it is to a kubelet.
fn one_of(texts: &Texts, key: &str, path: &Field) -> Result<String, ManifestError> {
    match texts.get(key) {
        Some(text) => Ok(text.clone()),
        None if metadata::steers_a_cluster(key) => Err(path.unsupported("a cluster writes it, and nobody does here")),
        None => Ok(String::new()),
    }
}

/// All of them as a kubelet writes them to a file.
fn listed(texts: &Texts) -> String {
    texts.iter().map(|(key, text)| format!("{key}={}", quoted(text))).collect::<Vec<_>>().join("\n")
}

/// A text as Go quotes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(control))),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_listed_as_a_kubelet_lists_them() {
        let texts = [("b", "two\n\"lines\""), ("a", "back\\slash"), ("c", "\u{1b}\u{85}ü")];
        let texts: Texts = texts.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
        assert_eq!(listed(&texts), "a=\"back\\\\slash\"\nb=\"two\\n\\\"lines\\\"\"\nc=\"\\x1b\\u0085ü\"");
        assert_eq!(listed(&Texts::new()), "");
    }
}
