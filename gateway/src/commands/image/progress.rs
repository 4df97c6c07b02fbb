use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{admin::api::images::ImageEvent, commands::output::size};

/// Cells of the bar.
const CELLS: u64 = 24;
/// Of a terminal that does not tell its width.
const WIDTH: usize = 80;
/// Characters of a name that a line has at least.
const NAME_CHARS_MIN: usize = 8;
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far a transfer has come, on stderr: a bar on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    name: String,
    is_terminal: bool,
    told: Option<Instant>,
}

impl Progress {
    pub(super) fn new(name: String) -> Self {
        Self { name, is_terminal: std::io::stderr().is_terminal(), told: None }
    }

    pub(super) fn tell(&mut self, event: &ImageEvent) {
        let ImageEvent::Progress { bytes_done, bytes_total, layers_unpacked, layers_total } = event else { return };
        let layers = format!("{layers_unpacked}/{layers_total} layers unpacked");
        let bytes = match bytes_total {
            0 => size(*bytes_done),
            total => format!("{} of {}", size(*bytes_done), size(*total)),
        };
        if self.is_terminal {
            let line = line(&self.name, &bar(*bytes_done, *bytes_total), &format!("{bytes}, {layers}"), width());
            // Whoever does not see it still gets the result.
            let _ = std::io::stderr().write_all(format!("\r\x1b[K{line}").as_bytes());
            self.told = Some(Instant::now());
        } else if self.told.is_none_or(|told| told.elapsed() >= LINE_EVERY) {
            eprintln!("{}: {bytes}, {layers}", self.name);
            self.told = Some(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal && self.told.is_some() {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

/// Of the terminal, in characters.
fn width() -> usize {
    let told = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if told == 0 { WIDTH } else { told }
}

/// A line that fits: one that wraps is never cleared again. The bar goes first, then the middle of the name, whose end
/// tells images apart.
fn line(name: &str, bar: &str, numbers: &str, width: usize) -> String {
    // The last column stays empty: some terminals wrap as soon as it is written to.
    let room = width.saturating_sub(numbers.chars().count() + 2);
    let chars = name.chars().count();
    let bar = if chars + bar.chars().count() <= room { bar } else { "" };
    let line = format!("{} {bar}{numbers}", shortened(name, room.max(NAME_CHARS_MIN)));
    line.chars().take(width.saturating_sub(1)).collect()
}

fn shortened(name: &str, chars_max: usize) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= chars_max {
        return name.to_owned();
    }
    let kept = chars_max.saturating_sub(1);
    let (beginning, end) = (kept / 2, chars.len() - (kept - kept / 2));
    chars.iter().take(beginning).chain(&['…']).chain(chars.iter().skip(end)).collect()
}

fn bar(done: u64, total: u64) -> String {
    if total == 0 {
        return String::new();
    }
    let filled = (u128::from(done.min(total)) * u128::from(CELLS) / u128::from(total)) as usize;
    format!("[{}{}] ", "#".repeat(filled), "-".repeat(CELLS as usize - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_whatever_is_called_how() {
        let (bar, numbers) = (bar(1, 2), "512.0 MiB of 1.0 GiB, 3/12 layers unpacked");
        let name = "registry.example.com/team/project/model-server:2024.06-cuda";
        for width in 0..200 {
            let line = line(name, &bar, numbers, width);
            assert!(line.chars().count() < width.max(1), "{width}: {line}");
            if width > 60 {
                assert!(line.ends_with(numbers) && line.contains("cuda"), "{width}: {line}");
            }
        }
        assert_eq!(line("app:1", &bar, numbers, 80), format!("app:1 {bar}{numbers}"));
        assert_eq!(line(name, &bar, numbers, 80), format!("registry.example.…erver:2024.06-cuda {numbers}"));
        assert_eq!(line(name, &bar, numbers, 200), format!("{name} {bar}{numbers}"));
        assert_eq!(shortened("äöüäöü", 3), "ä…ü");
    }

    #[test]
    fn a_bar_is_full_when_all_is_there_and_not_before() {
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(0, 10), format!("[{}] ", "-".repeat(24)));
        assert_eq!(bar(u64::MAX - 1, u64::MAX), format!("[{}-] ", "#".repeat(23)));
        assert_eq!(bar(12, 10), format!("[{}] ", "#".repeat(24)));
    }
}
