use dormouse_spec::printable;

/// What is shown of a text that a registry or an image wrote.
const CHARS_MAX: usize = 200;

/// A text of somebody else's, fit for an error: one that acts on no terminal and fills none.
pub(crate) fn shown(text: &str) -> String {
    let line: String = text.chars().take(CHARS_MAX).collect();
    printable(&line)
}
