//! One attack, where it is run, and how it ended.

use std::path::PathBuf;

/// How an attack ended, with what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Stopped(String),
    GotThrough(String),
}

impl Outcome {
    /// What came of it in one line.
    #[must_use]
    pub fn seen(&self) -> &str {
        match self {
            Self::Stopped(seen) | Self::GotThrough(seen) => seen,
        }
    }
}

/// A build of the product that is attacked.
#[derive(Debug, Clone)]
pub struct Ground {
    pub program: PathBuf,
    /// What its daemon finds in its environment: the name of the missing defence, if one is.
    pub environment: Vec<(String, String)>,
    /// Whether replicas are made of blanks.
    pub claimed: bool,
}

impl Ground {
    /// Everything stands.
    #[must_use]
    pub fn defended(program: &str) -> Self {
        Self { program: program.into(), environment: Vec::new(), claimed: false }
    }

    /// The same, where replicas wait as blanks before they are any.
    #[must_use]
    pub fn claimed(program: &str) -> Self {
        Self { claimed: true, ..Self::defended(program) }
    }

    /// One defence is missing.
    #[must_use]
    pub fn without(program: &str, defence: &str) -> Self {
        let environment = vec![("DORMOUSE_WEAKENED".to_owned(), defence.to_owned())];
        Self { environment, ..Self::defended(program) }
    }

    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }
}

/// An attack and the one defence that stands in its way.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// Its class in docs/threat-model.md.
    pub class: u8,
    pub name: &'static str,
    /// The name of the defence, as the builds know it.
    pub defence: &'static str,
    pub run: fn(&Ground) -> Outcome,
}
