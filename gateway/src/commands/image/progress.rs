use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{admin::api::images::ImageEvent, commands::output::size};

/// Cells of the bar.
const CELLS: u64 = 24;
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
            let line = format!("\r\x1b[K{} {}{bytes}, {layers}", self.name, bar(*bytes_done, *bytes_total));
            // Whoever does not see it still gets the result.
            let _ = std::io::stderr().write_all(line.as_bytes());
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
    fn a_bar_is_full_when_all_is_there_and_not_before() {
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(0, 10), format!("[{}] ", "-".repeat(24)));
        assert_eq!(bar(u64::MAX - 1, u64::MAX), format!("[{}-] ", "#".repeat(23)));
        assert_eq!(bar(12, 10), format!("[{}] ", "#".repeat(24)));
    }
}
