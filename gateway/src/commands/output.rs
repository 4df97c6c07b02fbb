//! Results, on stdout.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use dormouse_spec::printable;
use serde::Serialize;

use super::CommandError;

pub(super) fn print(bytes: impl AsRef<[u8]>) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()).map_err(CommandError::Output)
}

pub(super) fn print_line(line: impl AsRef<[u8]>) -> Result<(), CommandError> {
    print([line.as_ref(), b"\n"].concat())
}

pub(super) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    print_line(serde_json::to_string_pretty(value).map_err(CommandError::Json)?)
}

/// Rows under each other, columns two spaces apart; the first row is the heading.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    // Some cells are what a replica said.
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A size for people: `2.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "B";
    let mut tenths = bytes.saturating_mul(10);
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_where_their_text_does() {
        let rows = [["NAME", "URL"], ["silero-vad", ""], ["m", "http://x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "NAME        URL\nsilero-vad\nm           http://x\n");
    }

    #[test]
    fn sizes_are_in_the_unit_that_reads_best() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2_327_524, "2.2 MiB"), (3 << 29, "1.5 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
