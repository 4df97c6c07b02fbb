use dormouse_spec::printable;

/// The longest line that is kept; the rest of a longer one is dropped and marked.
pub(super) const LINE_BYTES_MAX: usize = 8 << 10;

const CUT: &str = " … (cut)";

/// Cuts a stream of bytes into lines of bounded length, fit to be shown on a terminal. Bytes that are
/// no UTF-8 are replaced. So it is what is written down, and whatever reads a log reads text.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    is_cut: bool,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8], mut complete: impl FnMut(String)) {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        // The first part ends the line that had begun; the last is a line that begins.
        let mut part = parts.next();
        while let Some(bytes) = part {
            self.append(bytes);
            part = parts.next();
            if part.is_some() {
                complete(self.take());
            }
        }
    }

    /// What has no end yet, at the end of the stream.
    pub(super) fn rest(&mut self) -> Option<String> {
        (!self.begun.is_empty()).then(|| self.take())
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.begun.len());
        self.is_cut |= bytes.len() > room;
        self.begun.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn take(&mut self) -> String {
        // What is written out takes more room than it took, so the limit holds once more.
        let mut line = printable(&String::from_utf8_lossy(&self.begun));
        let end = line.floor_char_boundary(LINE_BYTES_MAX);
        self.is_cut |= end < line.len();
        line.truncate(end);
        if self.is_cut {
            line.push_str(CUT);
        }
        self.begun.clear();
        self.is_cut = false;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut complete) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, |line| complete.push(line));
        }
        complete.extend(lines.rest());
        complete
    }

    #[test]
    fn lines_may_come_in_any_pieces() {
        assert_eq!(lines_of(&[b"a\nb", b"c\n\n", b"d"]), ["a", "bc", "", "d"]);
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let long = vec![b'x'; 3 * LINE_BYTES_MAX];
        let lines = lines_of(&[&long, b"\nnext\n"]);
        assert_eq!(lines[0].len(), LINE_BYTES_MAX + CUT.len());
        assert!(lines[0].ends_with(CUT));
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn no_line_acts_on_a_terminal_or_grows_beyond_its_limit() {
        assert_eq!(lines_of(&[b"a\x1b[2Jb\r\n"]), ["a\\u{1b}[2Jb\\r"]);
        let lines = lines_of(&[&[0x1b; LINE_BYTES_MAX], b"\n", &[0xff; LINE_BYTES_MAX]]);
        for line in lines {
            assert!(line.len() <= LINE_BYTES_MAX + CUT.len() && line.ends_with(CUT), "{}", line.len());
        }
    }
}
