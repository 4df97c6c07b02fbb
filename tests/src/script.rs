//! What a fake replica does. The script is its model: a file that passes for an ONNX graph and
//! carries JSON in its documentation field.
//!
//! The fake reads it anew at each step, so a test changes a running replica's mind by replacing
//! the stored file's content ([`Endpoint::play`](crate::Endpoint::play)). `Hold` waits until it changes.
//! A replica that was claimed holds the file itself, so it stays the same file and is written over; a
//! sum tells a script from one that is half written.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    pub load: Load,
    pub prepare: Prepare,
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
    /// Takes too much of something, and is ready if it survives that.
    Bomb(Bomb),
}

/// What a replica does that is to prepare its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prepare {
    Done,
    Hold,
    /// Says `the script is not prepared`.
    Refuse,
    /// Dies of a signal.
    Crash,
    /// Takes memory until it is killed.
    EatMemory,
    /// Sends a part of the prepared model and closes the connection.
    BreakOff,
}

/// What takes more of something than a replica may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bomb {
    /// Threads until the kernel refuses one, and dies of that.
    Threads,
    /// As many threads as there may be, all of which spin for ever.
    Spin,
    /// Memory as fast as there is some, until it is killed.
    Memory,
    /// The same a little at a time.
    MemorySlowly,
    /// Takes this much memory, then reads its model, whose pages need more than what is left.
    PageCache { hold_mebibytes: usize, rounds: usize },
    /// Every descriptor there is, and exits with the number of the error that the next one gets.
    Descriptors,
    /// All of /tmp. Answers with the number of bytes.
    Tmp,
    /// Empty files in /tmp, until there can be no more.
    Files,
    /// So many MiB of one kind of output.
    Log { flood: Flood, mebibytes: usize },
    /// Stands still.
    Stall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flood {
    Lines,
    /// One line that does not end.
    Endless,
    /// Every byte there is, over and over.
    Binary,
    /// Sequences that drive a terminal.
    Escapes,
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
    Bomb(Bomb),
    /// Fills so many MiB of memory with ones as the request's number says, and answers with their sum.
    Fill,
    /// Closes the connection without an answer, takes new ones and reads nothing of them.
    Deaf,
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

/// What a fake replica prints when it is to prepare its model.
pub const ASKED_TO_PREPARE: &str = "asked to prepare";

/// Key of the field `doc_string` in a `ModelProto`: number 6, length-delimited.
const DOC_STRING: u8 = 6 << 3 | 2;
/// The same of `producer_version`, number 3.
const PRODUCER_VERSION: u8 = 3 << 3 | 2;

impl Script {
    /// One that serves, and echoes what it is sent.
    #[must_use]
    pub fn echo() -> Self {
        Self {
            load: Load::Ready,
            prepare: Prepare::Done,
            infer: Infer::Echo,
            on_sigterm: OnSigterm::Exit,
            salt: String::new(),
        }
    }

    #[must_use]
    pub fn load(self, load: Load) -> Self {
        Self { load, ..self }
    }

    #[must_use]
    pub fn prepare(self, prepare: Prepare) -> Self {
        Self { prepare, ..self }
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
        let json = serde_json::to_vec(&Summed { sum: self.sum(), script: self.clone() }).unwrap();
        let mut model = vec![DOC_STRING];
        push_length(&mut model, json.len());
        model.extend(json);
        model
    }

    /// A model that is larger by so many bytes, which nobody looks at.
    #[must_use]
    pub fn to_padded_model(&self, bytes: usize) -> Vec<u8> {
        let mut model = self.to_model();
        model.push(PRODUCER_VERSION);
        push_length(&mut model, bytes);
        model.resize(model.len() + bytes, b' ');
        model
    }

    /// Whether these are the first bytes of what [`Self::to_model`] makes. An exporter of real models
    /// writes a version first.
    #[must_use]
    pub fn is_in(model: &[u8]) -> bool {
        model.first() == Some(&DOC_STRING)
    }

    /// None where it is not, or not wholly, what [`Self::to_model`] makes.
    #[must_use]
    pub fn of_model(model: &[u8]) -> Option<Self> {
        let length_bytes = model.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 1;
        // What pads a model comes after it.
        let mut scripts = serde_json::Deserializer::from_slice(model.get(1 + length_bytes..)?).into_iter();
        let Summed { sum, script } = scripts.next()?.ok()?;
        (script.sum() == sum).then_some(script)
    }

    fn sum(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        serde_json::to_vec(self).unwrap().hash(&mut hasher);
        hasher.finish()
    }
}

/// As it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Summed {
    sum: u64,
    script: Script,
}

fn push_length(model: &mut Vec<u8>, mut left: usize) {
    while left >= 0x80 {
        model.push(left as u8 | 0x80);
        left >>= 7;
    }
    model.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_survives_its_model() {
        let script = Script::echo().load(Load::Exit { code: 3 }).salt(&"s".repeat(200));
        assert_eq!(Script::of_model(&script.to_model()), Some(script.clone()));
        assert_eq!(Script::of_model(&script.to_padded_model(1000)), Some(script.clone()));
        assert!(Script::is_in(&script.to_model()) && !Script::is_in(&[8, 8]));
    }

    /// Whichever bytes of a new script a reader sees among those of the old one.
    #[test]
    fn a_script_that_is_half_written_is_none() {
        let [old, new] = [Script::echo(), Script::echo().load(Load::Exit { code: 3 })].map(|script| script.to_model());
        for written in 1..new.len() {
            let mixed = [&new[..written], old.get(written..).unwrap_or_default()].concat();
            let read = Script::of_model(&mixed);
            let is_whole = [&old, &new].iter().any(|whole| read == Script::of_model(whole));
            assert!(read.is_none() || is_whole, "{written} bytes: {read:?}");
        }
        let same_length =
            [3, 4].map(|code| Script::echo().load(Load::Exit { code }).infer(Infer::Exit { code }).to_model());
        let half = new.len() / 2;
        assert_eq!(Script::of_model(&[&same_length[0][..half], &same_length[1][half..]].concat()), None);
    }
}
