//! Text that somebody else wrote, made fit to be shown.
//!
//! What a model prints ends on an operator's terminal, and a terminal obeys: escape sequences set
//! its title, move its cursor over lines that were printed before, or have it type something back.

use std::fmt::Write as _;

/// `text` with every character that would act on a terminal written out: an escape as `\u{1b}`, a
/// carriage return as `\r`. Tabs stay. Colours, which libraries print for people, are taken out.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(length) = colour(rest) {
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        match character {
            '\t' => shown.push('\t'),
            // Writing to a String does not fail.
            acts if acts_on_a_terminal(acts) => drop(write!(shown, "{}", acts.escape_default())),
            other => shown.push(other),
        }
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
    shown
}

/// Control characters of both sets, and those that turn the direction of what is around them.
fn acts_on_a_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of the sequence at the beginning of `text` that selects a colour, if one is there:
/// `ESC [`, numbers, `m`. It changes nothing but how characters look.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    parameters.get(end..)?.starts_with('m').then_some("\u{1b}[".len() + end + "m".len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        for (text, shown) in [
            ("plain, ünïcode, 日本語\tand a tab", "plain, ünïcode, 日本語\tand a tab"),
            ("\u{1b}]0;owned\u{7}", "\\u{1b}]0;owned\\u{7}"),
            ("\u{1b}[2J\u{1b}[1;1H", "\\u{1b}[2J\\u{1b}[1;1H"),
            ("done\rFAILED", "done\\rFAILED"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("two\nlines", "two\\nlines"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn colours_are_taken_out_and_nothing_that_only_begins_like_one() {
        assert_eq!(printable("\u{1b}[0;93mwarning\u{1b}[m: x"), "warning: x");
        assert_eq!(printable("\u{1b}[31"), "\\u{1b}[31");
        assert_eq!(printable("\u{1b}[31;K"), "\\u{1b}[31;K");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in "(.|\\PC|\u{1b}|\\[|m|[0-9;])*") {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(|character| character != '\t' && acts_on_a_terminal(character)), "{shown:?}");
        }
    }
}
