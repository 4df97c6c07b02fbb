//! The soak: cold wakes, deploys with deletes, and SIGKILLs at random moments under load. Nothing of
//! it may be left, and no answer may be wrong. Needs root, and what `make setup-test` fetched.
//!
//! `SOAK_N` is the number of wakes and of deploys; there are three tenths as many kills. `SEED`
//! repeats the choices of an earlier run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod deploys;
mod desired;
mod hunt;
mod image;
mod kills;
mod load;
mod model;
mod operator;
mod options;
mod progress;
mod random;
mod report;
mod run;
mod wakes;

use std::{process::ExitCode, thread};

use dormouse_tests::machine_state::kernel_groups;

use self::{model::Worker, options::Options, random::Random, report::Report, run::Share};

/// One run in five is with the real worker, and one with an image.
const OTHERS_SHARE: u64 = 5;

fn main() -> ExitCode {
    let Some(Options { n, seed }) = Options::of_this_run() else { return ExitCode::SUCCESS };
    eprintln!("soak of {n} wakes, {n} deploys and {} kills; SEED={seed} repeats its choices", n * 3 / 10);
    let mut random = Random::new(seed);
    let other = Share::of(n.div_ceil(OTHERS_SHARE));
    let scripted = Share { kills: n * 3 / 10 - 2 * other.kills, ..Share::of(n - 2 * other.wakes) };
    let kernel_before = kernel_groups();
    // Side by side, as daemons of one machine may be: one's kills are nothing to the other.
    let reports: Vec<Report> = thread::scope(|scope| {
        let soaks =
            [(Worker::Scripted, scripted), (Worker::Real, other), (Worker::Image, other)].map(|(worker, share)| {
                let random = random.child();
                scope.spawn(move || run::soak(worker, share, random))
            });
        soaks.into_iter().map(|soak| soak.join().unwrap_or_else(|_| Report::of_panic())).collect()
    });
    let mut report = Report::of_all(reports);
    report.kernel_groups(&kernel_before, &kernel_groups());
    report.print();
    if report.holds() {
        return ExitCode::SUCCESS;
    }
    eprintln!("the soak failed; SEED={seed} repeats its choices");
    ExitCode::FAILURE
}
