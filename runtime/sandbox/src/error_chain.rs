//! A failure and its causes in one line, for where a failure is handled: logged, or told the node.

use std::error::Error;

/// Longer lines are cut: a cause may quote a whole path or what another program said.
pub(crate) const LINE_BYTES_MAX: usize = 1_500;

/// `making the pipe failed: too many open files`, the outermost first.
pub(crate) fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let mut text = on_one_line(&text);
    text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
    text
}

/// What somebody else said, as part of a line of ours: nothing in it can end the line, colour a
/// terminal or change the direction in which it is read.
pub(crate) fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible_format(c) { ' ' } else { c }).collect()
}

/// Separators of lines and paragraphs, and marks of direction.
fn is_invisible_format(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("opening `{path}` failed")]
        Open {
            path: String,
            #[source]
            source: io::Error,
        },
        #[error("starting failed: {0}")]
        Repeats(#[source] io::Error),
    }

    #[test]
    fn every_cause_is_told_once() {
        let open = Failure::Open { path: "/a".to_owned(), source: io::Error::other("no\nsuch file") };
        assert_eq!(one_line(&open), "opening `/a` failed: no such file");
        assert_eq!(one_line(&Failure::Repeats(io::Error::other("no"))), "starting failed: no");
    }

    #[test]
    fn nothing_that_is_quoted_ends_a_line_or_turns_it() {
        let said = "a\r\nERROR forged\u{1b}[2J\u{7f}\u{85}\u{2028}\u{202e}\u{2066}\u{200f}\0b ü 漢";
        assert_eq!(on_one_line(said), "a  ERROR forged [2J       b ü 漢");
    }

    #[test]
    fn a_line_has_an_end() {
        let long = Failure::Open { path: "\u{e9}".repeat(LINE_BYTES_MAX), source: io::Error::other("no") };
        assert!(one_line(&long).len() <= LINE_BYTES_MAX);
    }
}
