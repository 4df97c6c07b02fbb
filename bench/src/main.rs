//! Measures what is promised in numbers, side by side with a floor and with others who do the same.
//!
//! Absolute times belong to one machine on one day. What is claimed are ratios and differences of samples that were
//! taken in turns, in one run. [`parts`] are what is measured, [`load`] with which arrivals, [`floor`] and [`peers`]
//! beside whom, [`stats`] and [`report`] how it is told.

mod daemon;
mod effort;
mod floor;
mod http;
mod image;
mod libraries;
mod load;
mod machine;
mod models;
mod parts;
mod peers;
mod process;
mod processor;
mod report;
mod sandbox;
mod stats;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use effort::Effort;
use parts::Part;

type Failure = Box<dyn std::error::Error>;

/// Measures Dormouse beside a bare process and its peers. Prints tables, and writes JSON and SVG.
///
/// A row with a goal is `met`, `missed`, or `FAILED` where it could not be measured, with the reason. Missed rows are
/// results; the exit status is 1 only where a row or a part failed. docs/benchmarks.md tells how to read it all.
#[derive(Debug, Parser)]
#[command(name = "dormouse-bench")]
struct Arguments {
    /// What to measure; everything but `neighbours` where none is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// A handful of samples: shows that each part works, and proves nothing
    #[arg(long)]
    quick: bool,
    /// The daemon to measure
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Measure models, and kinds of bombs, whose names contain this only
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Where JSON and plots go
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Where things are, and how much is to be done.
#[derive(Debug)]
struct Bench {
    workspace: PathBuf,
    program: PathBuf,
    setup: PathBuf,
    onnxruntime: PathBuf,
    filter: String,
    effort: Effort,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("dormouse-bench: {failed} rows or parts could not be measured; each says why above");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("dormouse-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many rows and parts could not be measured.
fn run(arguments: Arguments) -> Result<usize, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err("containers and control groups need root: run `sudo make bench`".into());
    }
    let workspace = dormouse_tests::paths::repository();
    let output = arguments.output.clone().unwrap_or_else(|| workspace.join("target/bench"));
    std::fs::create_dir_all(&output).map_err(|error| format!("making {}: {error}", output.display()))?;
    let parts = if arguments.parts.is_empty() { Part::USUAL.to_vec() } else { arguments.parts.clone() };
    let bench = Bench::new(workspace, arguments)?;
    let facts = machine::Facts::gather(&bench.workspace, &bench.program, &bench.onnxruntime)?;
    println!("{}", facts.line());
    let failed = parts.into_iter().map(|part| measure(part, &bench, &facts, &output));
    let failed = failed.sum::<Result<usize, Failure>>()?;
    eprintln!("JSON and plots are in {}", output.display());
    Ok(failed)
}

/// A part that fails as a whole does not keep the others from being measured.
fn measure(part: Part, bench: &Bench, facts: &machine::Facts, output: &Path) -> Result<usize, Failure> {
    eprintln!("measuring {} …", part.name());
    let watch = stats::Watch::begin();
    match part.measure(bench) {
        Ok(mut report) => {
            report.flags.extend(watch.end());
            report.publish(part.name(), facts, output)?;
            Ok(report.rows.iter().filter(|row| row.has_failed()).count())
        }
        Err(error) => {
            println!("\n## {}\n\nFAILED: {error}", part.name());
            Ok(1)
        }
    }
}

impl Bench {
    fn new(workspace: PathBuf, arguments: Arguments) -> Result<Self, Failure> {
        let setup = workspace.join("target/setup");
        let bench = Self {
            program: arguments.program.unwrap_or_else(|| workspace.join("target/release/dormouse")),
            onnxruntime: setup.join("onnxruntime/libonnxruntime.so"),
            setup,
            workspace,
            filter: arguments.filter,
            effort: if arguments.quick { Effort::QUICK } else { Effort::FULL },
        };
        for (file, make) in [(&bench.program, "make build"), (&bench.onnxruntime, "make setup")] {
            if !file.is_file() {
                return Err(format!("{} is missing: run `{make}`", file.display()).into());
            }
        }
        Ok(bench)
    }

    /// Those of the filter.
    fn models(&self) -> Result<Vec<models::Model>, Failure> {
        let mut models = models::Model::all(&self.setup)?;
        models.retain(|model| model.name.contains(&self.filter));
        Ok(models)
    }

    /// A program that is built beside this one.
    fn sibling(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = std::env::current_exe()?.with_file_name(name);
        if path.is_file() { Ok(path) } else { Err(format!("{} is missing: run `make bench`", path.display()).into()) }
    }
}
