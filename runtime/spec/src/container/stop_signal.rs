use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a container's first process is asked to end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct StopSignal(u8);

/// Why a text names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no signal of this system")]
pub struct StopSignalError(String);

/// As Linux numbers them on x86 and Arm.
const NAMES: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];
const LAST: u8 = 64;
/// The first real-time signal that a C library leaves to programs; the last is [`LAST`].
const RTMIN: u8 = 34;

impl StopSignal {
    pub const TERM: Self = Self(15);

    /// As the kernel numbers it.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Default for StopSignal {
    fn default() -> Self {
        Self::TERM
    }
}

impl FromStr for StopSignal {
    type Err = StopSignalError;

    /// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `SIGRTMAX-1`, as Docker reads them.
    fn from_str(text: &str) -> Result<Self, StopSignalError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |text: &str| text.parse::<u8>().ok();
        let number = if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            Some(*number)
        } else if let Some(rest) = name.strip_prefix("RTMIN") {
            if rest.is_empty() {
                Some(RTMIN)
            } else {
                rest.strip_prefix('+').and_then(offset).and_then(|n| RTMIN.checked_add(n))
            }
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            if rest.is_empty() {
                Some(LAST)
            } else {
                rest.strip_prefix('-').and_then(offset).and_then(|n| LAST.checked_sub(n)).filter(|n| *n >= RTMIN)
            }
        } else {
            offset(name)
        };
        number.and_then(|number| Self::try_from(number).ok()).ok_or_else(|| StopSignalError(crate::printable(text)))
    }
}

impl TryFrom<u8> for StopSignal {
    type Error = StopSignalError;

    fn try_from(number: u8) -> Result<Self, StopSignalError> {
        if (1..=LAST).contains(&number) { Ok(Self(number)) } else { Err(StopSignalError(number.to_string())) }
    }
}

impl From<StopSignal> for u8 {
    fn from(signal: StopSignal) -> Self {
        signal.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn signals_are_read_as_docker_reads_them() {
        let table = [
            ("SIGTERM", 15),
            ("term", 15),
            ("15", 15),
            ("SIGQUIT", 3),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("SIGRTMAX-1", 63),
            ("64", 64),
        ];
        for (text, number) in table {
            assert_eq!(text.parse::<StopSignal>().unwrap().number(), number, "{text}");
        }
        for text in ["", "SIG", "0", "65", "SIGFOO", "RTMIN+31", "RTMAX-40", "-1", "SIGRTMIN+300"] {
            assert!(text.parse::<StopSignal>().is_err(), "{text}");
        }
    }
}
