//! What a fake replica does. The script is its model: a file that passes for an ONNX graph and
//! carries JSON in its documentation field.
//!
//! The fake reads it anew at each step, so a test changes a running replica's mind by replacing
//! the stored file ([`Endpoint::play`](crate::Endpoint::play)). `Hold` waits until it changes.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    pub load: Load,
    pub infer: Infer,
    pub on_sigterm: OnSigterm,
    /// Keeps models of different endpoints different.
    pub salt: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    Ready,
    Hold,
    /// Says `the script says no` and exits with status 1.
    Fail,
    Exit {
        code: i32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Infer {
    /// Answers with the request's own data.
    Echo,
    Hold,
    Exit {
        code: i32,
    },
    /// Dies of a signal.
    Crash,
    /// Makes a system call that no worker has a reason to make.
    ForbiddenCall,
    /// Takes memory until it is killed.
    EatMemory,
    /// Closes the connection without an answer.
    HangUp,
    /// Sends a part of its answer and closes the connection.
    BreakOff,
    /// Writes numbered lines of `bytes` bytes to stdout, then answers.
    Print {
        lines: usize,
        bytes: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSigterm {
    Exit,
    Ignore,
}

/// Key of the field `doc_string` in a `ModelProto`: number 6, length-delimited.
const DOC_STRING: u8 = 6 << 3 | 2;

impl Script {
    /// One that serves, and echoes what it is sent.
    #[must_use]
    pub fn echo() -> Self {
        Self { load: Load::Ready, infer: Infer::Echo, on_sigterm: OnSigterm::Exit, salt: String::new() }
    }

    #[must_use]
    pub fn load(self, load: Load) -> Self {
        Self { load, ..self }
    }

    #[must_use]
    pub fn infer(self, infer: Infer) -> Self {
        Self { infer, ..self }
    }

    #[must_use]
    pub fn on_sigterm(self, on_sigterm: OnSigterm) -> Self {
        Self { on_sigterm, ..self }
    }

    #[must_use]
    pub fn salt(self, salt: &str) -> Self {
        Self { salt: salt.to_owned(), ..self }
    }

    #[must_use]
    pub fn to_model(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap();
        let mut model = vec![DOC_STRING];
        let mut left = json.len();
        while left >= 0x80 {
            model.push(left as u8 | 0x80);
            left >>= 7;
        }
        model.push(left as u8);
        model.extend(json);
        model
    }

    /// # Panics
    /// Where the file was not made by [`Self::to_model`].
    #[must_use]
    pub fn of_model(model: &[u8]) -> Self {
        let length_bytes = model.iter().skip(1).position(|byte| byte & 0x80 == 0).expect("a length") + 1;
        serde_json::from_slice(&model[1 + length_bytes..]).expect("a script")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_survives_its_model() {
        let script = Script::echo().load(Load::Exit { code: 3 }).salt(&"s".repeat(200));
        assert_eq!(Script::of_model(&script.to_model()), script);
    }
}
