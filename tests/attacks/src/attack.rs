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
    /// What its daemon finds in its environment: the names of missing defences, if any are.
    pub environment: Vec<(String, String)>,
    pub replicas: Replicas,
}

/// Where replicas come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    Created,
    /// They wait as blanks before they are any.
    Claimed,
    /// They are forked of a template.
    Forked,
    /// They are processes of an image, with the hostile program in it.
    Image,
}

impl Ground {
    /// Everything stands.
    #[must_use]
    pub fn defended(program: &str) -> Self {
        Self { program: program.into(), environment: Vec::new(), replicas: Replicas::Created }
    }

    /// The same, where replicas come from somewhere else.
    #[must_use]
    pub fn of(program: &str, replicas: Replicas) -> Self {
        Self { replicas, ..Self::defended(program) }
    }

    /// These defences are missing.
    #[must_use]
    pub fn without(program: &str, defences: &[&str]) -> Self {
        let environment = vec![("DORMOUSE_WEAKENED".to_owned(), defences.join(","))];
        Self { environment, ..Self::defended(program) }
    }

    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }
}

/// An attack and what stands in its way.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// Its class in docs/threat-model.md.
    pub class: u8,
    pub name: &'static str,
    /// The name of the defence, as the builds know it; or of several with commas between them, each of which
    /// stops it alone.
    pub defence: &'static str,
    pub run: fn(&Ground) -> Outcome,
}

impl Attack {
    #[must_use]
    pub fn defences(&self) -> Vec<&'static str> {
        self.defence.split(',').collect()
    }
}
