use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use dormouse_spec::{Alias, Digest, EndpointName};

use crate::{EndpointView, Preparation, endpoint::EndpointHandle};

/// All endpoints by name and alias, and which of them somebody is deploying or deleting.
///
/// The lock is held for the moment of a look-up or change only, never while anything waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    names: Arc<RwLock<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    entries: BTreeMap<String, Entry>,
    /// From alias to name.
    aliases: BTreeMap<String, String>,
    /// Who is claimed, and the alias it is claimed with.
    claims: BTreeMap<EndpointName, Option<Alias>>,
}

/// An endpoint as others find it.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// No revision serves: the first is being deployed, or failed.
    Unserved(Arc<EndpointView>),
    Served(EndpointHandle),
}

impl Entry {
    pub(crate) fn view(&self) -> Arc<EndpointView> {
        match self {
            Self::Unserved(view) => Arc::clone(view),
            Self::Served(handle) => handle.view(),
        }
    }

    pub(crate) fn served(self) -> Option<EndpointHandle> {
        match self {
            Self::Served(handle) => Some(handle),
            Self::Unserved(_) => None,
        }
    }
}

/// Why an endpoint cannot be deployed or deleted now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("`{0}` is being deployed or deleted already")]
    Busy(EndpointName),
    #[error("`{text}` is the name or alias of the endpoint `{of}`")]
    Taken { text: String, of: String },
}

/// The right to change one endpoint. Dropping it gives the right back.
#[derive(Debug)]
pub(crate) struct Claim {
    directory: Directory,
    name: EndpointName,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.directory.change(|names| names.claims.remove(&self.name));
    }
}

impl Claim {
    pub(crate) fn name(&self) -> &EndpointName {
        &self.name
    }

    /// Sets what others find under the name and its alias.
    pub(crate) fn set(&self, entry: Entry, alias: Option<&Alias>) {
        self.directory.insert(&self.name, entry, alias);
    }

    pub(crate) fn entry(&self) -> Option<Entry> {
        self.directory.find(self.name.as_str())
    }

    /// The endpoint is no more.
    pub(crate) fn remove(&self) {
        self.directory.change(|names| {
            names.entries.remove(self.name.as_str());
            names.aliases.retain(|_, name| name != self.name.as_str());
        });
    }
}

impl Directory {
    pub(crate) fn find(&self, name_or_alias: &str) -> Option<Entry> {
        self.read(|names| {
            let by_alias = || names.entries.get(names.aliases.get(name_or_alias)?);
            names.entries.get(name_or_alias).or_else(by_alias).cloned()
        })
    }

    /// All entries by name.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.read(|names| names.entries.values().cloned().collect())
    }

    /// The models of all endpoints, and the keys of what was prepared of them.
    pub(crate) fn stored(&self) -> HashSet<Digest> {
        let views = self.all().into_iter().map(|entry| entry.view());
        views.flat_map(|view| [view.model, view.preparation.as_ref().and_then(Preparation::key)]).flatten().collect()
    }

    pub(crate) fn insert(&self, name: &EndpointName, entry: Entry, alias: Option<&Alias>) {
        self.change(|names| {
            names.aliases.retain(|_, of| of != name.as_str());
            if let Some(alias) = alias {
                names.aliases.insert(alias.as_str().to_owned(), name.to_string());
            }
            names.entries.insert(name.to_string(), entry);
        });
    }

    /// Claims an endpoint, there or not, and the alias it is to have.
    pub(crate) fn claim(&self, name: &EndpointName, alias: Option<&Alias>) -> Result<Claim, ClaimError> {
        self.change(|names| {
            if names.claims.contains_key(name) {
                return Err(ClaimError::Busy(name.clone()));
            }
            let texts = std::iter::once(name.as_str()).chain(alias.map(Alias::as_str));
            for text in texts {
                if let Some(of) = names.owner(text).filter(|of| of != name.as_str()) {
                    return Err(ClaimError::Taken { text: text.to_owned(), of });
                }
            }
            names.claims.insert(name.clone(), alias.cloned());
            Ok(Claim { directory: self.clone(), name: name.clone() })
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Names) -> T) -> T {
        look(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Names) -> T) -> T {
        change(&mut self.names.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Names {
    /// The endpoint that has this text for its name or alias, or is to have it.
    fn owner(&self, text: &str) -> Option<String> {
        let claimed = self
            .claims
            .iter()
            .find(|(name, alias)| name.as_str() == text || alias.as_ref().is_some_and(|alias| alias.as_str() == text));
        let there = self.entries.get_key_value(text).map(|(name, _)| name);
        there.or_else(|| self.aliases.get(text)).cloned().or_else(|| claimed.map(|(name, _)| name.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> EndpointName {
        text.parse().unwrap()
    }

    fn alias(text: &str) -> Alias {
        text.parse().unwrap()
    }

    #[test]
    fn one_change_of_an_endpoint_at_a_time() {
        let directory = Directory::default();
        let claim = directory.claim(&name("a"), None).unwrap();
        assert_eq!(directory.claim(&name("a"), None).unwrap_err(), ClaimError::Busy(name("a")));
        drop(claim);
        directory.claim(&name("a"), None).unwrap();
    }

    #[test]
    fn a_text_leads_to_one_endpoint_only() {
        let directory = Directory::default();
        let first = directory.claim(&name("a"), Some(&alias("shared"))).unwrap();
        for (other, with) in [("shared", None), ("b", Some(alias("shared"))), ("b", Some(alias("a")))] {
            let refused = directory.claim(&name(other), with.as_ref()).unwrap_err();
            assert!(matches!(refused, ClaimError::Taken { of, .. } if of == "a"), "{other}");
        }
        drop(first);
        // An alias that is the endpoint's own name is no collision.
        directory.claim(&name("a"), Some(&alias("a"))).unwrap();
    }
}
