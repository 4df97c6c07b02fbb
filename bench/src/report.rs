use std::path::Path;

use serde_json::{Value, json};

use crate::{Failure, samples::Samples};

/// One measurement beside what it is compared with.
#[derive(Debug)]
pub(crate) struct Row {
    model: &'static str,
    what: &'static str,
    compared: &'static str,
    /// In milliseconds where times are subtracted, without unit where they are divided.
    figure: f64,
    is_ratio: bool,
    median_ms: f64,
    p99_ms: f64,
    floor_ms: f64,
    samples: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

impl Row {
    pub(crate) fn ratio(
        model: &'static str,
        what: &'static str,
        compared: &'static str,
        ours: &Samples,
        floor: &Samples,
    ) -> Self {
        let figure = ours.median_ms() / floor.median_ms();
        Self { figure, is_ratio: true, ..Self::added(model, what, compared, ours, floor) }
    }

    pub(crate) fn added(
        model: &'static str,
        what: &'static str,
        compared: &'static str,
        ours: &Samples,
        floor: &Samples,
    ) -> Self {
        Self {
            model,
            what,
            compared,
            figure: ours.median_ms() - floor.median_ms(),
            is_ratio: false,
            median_ms: ours.median_ms(),
            p99_ms: ours.percentile_ms(0.99),
            floor_ms: floor.median_ms(),
            samples: ours.count(),
        }
    }

    fn figure(&self) -> String {
        if self.is_ratio { format!("{:.2}", self.figure) } else { format!("{:+.2} ms", self.figure) }
    }

    fn json(&self) -> Value {
        json!({
            "model": self.model, "what": self.what, "compared": self.compared, "figure": self.figure,
            "unit": if self.is_ratio { "ratio" } else { "ms" }, "median_ms": self.median_ms, "p99_ms": self.p99_ms,
            "floor_median_ms": self.floor_ms, "samples": self.samples,
        })
    }
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    pub(crate) fn print(&self) {
        println!("| model | what | figure | compared | median ms | p99 ms | floor ms | n |");
        println!("|---|---|---|---|---|---|---|---|");
        for row in &self.0 {
            println!(
                "| {} | {} | {} | {} | {:.2} | {:.2} | {:.2} | {} |",
                row.model,
                row.what,
                row.figure(),
                row.compared,
                row.median_ms,
                row.p99_ms,
                row.floor_ms,
                row.samples
            );
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let rows: Vec<Value> = self.0.iter().map(Row::json).collect();
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
        eprintln!("written to {}", path.display());
        Ok(())
    }
}
