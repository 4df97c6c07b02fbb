//! One run of the command line and what it told.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[derive(Debug)]
pub struct Told {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    shown: String,
}

/// Runs a command to its end; its standard input is empty.
#[must_use]
pub fn run(command: &mut Command) -> Told {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Told::of(&output, format!("{command:?}"))
}

impl Told {
    #[must_use]
    pub fn of(output: &Output, shown: String) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            shown,
        }
    }

    /// # Panics
    /// Where it did not end with 0.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}{}", self.shown, self.stdout, self.stderr);
        self
    }

    /// What it printed as JSON.
    ///
    /// # Panics
    /// Where it failed or printed something else.
    #[track_caller]
    #[must_use]
    pub fn json(self) -> Value {
        let told = self.ok();
        serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {}", told.stdout))
    }

    /// The one line that says why it failed, without warnings before it.
    ///
    /// # Panics
    /// Where it ended with another code, or its last word is not `dormouse: …`.
    #[track_caller]
    #[must_use]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}{}", self.shown, self.stdout, self.stderr);
        let reason = self.stderr.lines().last().unwrap_or_default();
        assert!(reason.starts_with("dormouse: "), "{}\n{}", self.shown, self.stderr);
        reason.to_owned()
    }
}
