use std::fmt;

/// A table in Markdown, so that what is printed can be kept in a document.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(titles: &[&str]) -> Self {
        Self { titles: titles.iter().map(|title| (*title).to_owned()).collect(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| {} |", self.titles.join(" | "))?;
        writeln!(formatter, "|{}", "---|".repeat(self.titles.len()))?;
        self.rows.iter().try_for_each(|cells| writeln!(formatter, "| {} |", cells.join(" | ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_a_cell() {
        let mut table = Table::new(&["a", "b"]);
        table.row(["x|y".to_owned(), "two\nlines".to_owned()]);
        assert_eq!(table.to_string(), "| a | b |\n|---|---|\n| x\\|y | two lines |\n");
    }
}
