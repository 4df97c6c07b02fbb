//! What a part tells: tables to read, rows with their goals, data for machines, and plots.

mod plots;
mod row;
mod svg;
mod table;

use std::{fs, path::Path};

use serde_json::{Value, json};

pub(crate) use plots::{Curve, Strip, curves, goals, strips};
pub(crate) use row::{Row, Unit};
pub(crate) use table::Table;

use crate::{Failure, machine};

/// The outcome of one part.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) tables: Vec<Table>,
    pub(crate) rows: Vec<Row>,
    /// Everything that was measured, for whoever wants to calculate on.
    pub(crate) data: Value,
    /// File name without extension, and an SVG document.
    pub(crate) plots: Vec<(String, String)>,
    /// Why not to believe it.
    pub(crate) flags: Vec<String>,
}

impl Report {
    /// Prints all of it and writes `PART.json` and the plots into `directory`.
    pub(crate) fn publish(&self, part: &str, facts: &machine::Facts, directory: &Path) -> Result<(), Failure> {
        println!("\n## {part}\n");
        self.tables.iter().for_each(|table| println!("{table}"));
        if !self.rows.is_empty() {
            println!("{}", row::table(&self.rows));
        }
        self.flags.iter().for_each(|flag| println!("noisy: {flag}"));
        let write = |name: String, content: &[u8]| {
            let path = directory.join(name);
            fs::write(&path, content).map_err(|error| format!("writing {}: {error}", path.display()))
        };
        let document = json!({
            "part": part, "machine": facts.json(), "noise": self.flags,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(), "data": self.data,
        });
        write(format!("{part}.json"), &serde_json::to_vec_pretty(&document)?)?;
        for (name, svg) in &self.plots {
            write(format!("{part}-{name}.svg"), svg.as_bytes())?;
        }
        if self.rows.iter().any(Row::has_goal) {
            write(format!("{part}-goals.svg"), goals(part, &self.rows).as_bytes())?;
        }
        Ok(())
    }
}
