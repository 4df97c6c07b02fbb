//! The format of the lists in configs/seccomp.

use std::fmt;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SystemCalls {
    #[serde(rename = "description")]
    _description: Vec<String>,
    /// What a call answers that is in neither list.
    pub(super) default_errno: u32,
    pub(super) allowed: Vec<Allowed>,
    pub(super) killed: Vec<Killed>,
}

/// What is allowed beside another list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Additions {
    #[serde(rename = "description")]
    _description: Vec<String>,
    pub(super) allowed: Vec<Allowed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), expect(dead_code, reason = "the proofs are for readers and for tests"))]
pub(super) struct Allowed {
    pub(super) name: String,
    /// The one architecture that has the call, or needs it.
    pub(super) only: Option<Architecture>,
    pub(super) reason: String,
    /// Where a recorded run made the call.
    pub(super) seen: Option<Phase>,
    /// Why no recorded run can be relied upon to make it.
    pub(super) unseen: Option<String>,
    /// Alternatives; without any the call is allowed whatever its arguments are.
    #[serde(default)]
    pub(super) when: Vec<When>,
}

impl Allowed {
    pub(super) fn is_native(&self) -> bool {
        self.only.is_none_or(Architecture::is_native)
    }
}

/// Calls that end the process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), expect(dead_code, reason = "the reason is for readers and for tests"))]
pub(super) struct Killed {
    pub(super) names: Vec<String>,
    /// The one architecture that has the calls.
    pub(super) only: Option<Architecture>,
    pub(super) reason: String,
}

impl Killed {
    pub(super) fn is_native(&self) -> bool {
        self.only.is_none_or(Architecture::is_native)
    }
}

/// A list of what programs at large are used to: calls of one purpose have one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupedCalls {
    #[serde(rename = "description")]
    _description: Vec<String>,
    /// What a call answers that is in neither list: one that this list does not know, as of a newer kernel.
    pub(super) default_errno: u32,
    /// What a call answers that is refused.
    pub(super) refused_errno: u32,
    pub(super) allowed: Vec<Group>,
    pub(super) refused: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), expect(dead_code, reason = "the reason is for readers and for tests"))]
pub(super) struct Group {
    pub(super) names: Vec<String>,
    /// The one architecture that has the calls.
    pub(super) only: Option<Architecture>,
    pub(super) reason: String,
    /// Alternatives; without any the calls are meant whatever their arguments are.
    #[serde(default)]
    pub(super) when: Vec<When>,
}

impl Group {
    pub(super) fn is_native(&self) -> bool {
        self.only.is_none_or(Architecture::is_native)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Architecture {
    #[serde(rename = "x86-64")]
    X86_64,
    #[serde(rename = "arm64")]
    Arm64,
}

impl Architecture {
    fn is_native(self) -> bool {
        self == if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::X86_64 }
    }
}

/// A part of a worker's life under its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// libcontainer's last steps, up to the execution of the worker.
    Creation,
    /// Until the worker is ready, or gave up.
    Load,
    /// From a template's first order until the server that it forked has loaded its filter.
    Fork,
    /// From the word that a worker or a server is ready to its end.
    Serve,
    /// Reading a layer of an image, from before its first byte.
    Unpack,
}

/// Holds where all of its conditions do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    #[serde(rename = "means")]
    _means: String,
    pub(super) all: Conditions,
}

/// At least one, each of another argument.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<Condition>")]
pub(super) struct Conditions(Vec<Condition>);

impl Conditions {
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Condition>> for Conditions {
    type Error = ListError;

    fn try_from(conditions: Vec<Condition>) -> Result<Self, ListError> {
        if conditions.is_empty() {
            return Err(ListError::NoCondition);
        }
        for (at, condition) in conditions.iter().enumerate() {
            // Of one argument twice, libcontainer makes two rules, either of which allows the call.
            if conditions[..at].iter().any(|other| other.argument == condition.argument) {
                return Err(ListError::ArgumentTwice(condition.argument.0));
            }
            if condition.equals.0 & !condition.mask.0 != 0 {
                return Err(ListError::NeverHolds(condition.argument.0));
            }
        }
        Ok(Self(conditions))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    pub(super) argument: Argument,
    /// The bits of the argument that are looked at.
    pub(super) mask: Hex,
    /// What they must be.
    pub(super) equals: Hex,
}

/// Counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(super) struct Argument(u8);

impl Argument {
    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

impl TryFrom<u8> for Argument {
    type Error = ListError;

    fn try_from(index: u8) -> Result<Self, ListError> {
        if index < 6 { Ok(Self(index)) } else { Err(ListError::NoArgument(index)) }
    }
}

/// Flags are read best as headers of C write them: `0x5421`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Hex(pub(super) u64);

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = ListError;

    fn try_from(text: String) -> Result<Self, ListError> {
        let digits = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        digits.map(Self).ok_or(ListError::NoHex(text))
    }
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("an alternative without a condition")]
    NoCondition,
    #[error("argument {0} has two conditions in one alternative")]
    ArgumentTwice(u8),
    #[error("the condition of argument {0} never holds: its value is not within its mask")]
    NeverHolds(u8),
    #[error("a system call has arguments 0 to 5, not {0}")]
    NoArgument(u8),
    #[error("`{0}` is not a number like 0x5421")]
    NoHex(String),
}
