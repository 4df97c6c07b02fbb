//! What was there before and after, and whether that is as promised.

use std::{collections::BTreeMap, fmt::Display};

use dormouse_tests::machine_state::{MachineState, Memory};

use crate::{answers::Answers, model::Worker};

/// What a half may grow by: pages that its allocator keeps for the next time, once.
const GROWTH_KIB_MAX: u64 = 2_048;
/// And for each wake and deploy: nothing that could be found.
const GROWTH_BYTES_PER_OPERATION_MAX: u64 = 256;

#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<[String; 4]>,
    /// Each thing that is not as promised, in full.
    failures: Vec<String>,
    worker: String,
    kills: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(crate) fn of(worker: Worker) -> Self {
        Self { worker: worker.name().to_owned(), ..Self::default() }
    }

    /// Of a soak that did not come to its end; what it said last is above.
    pub(crate) fn of_panic() -> Self {
        Self { failures: vec!["the soak of one daemon broke off".to_owned()], ..Self::default() }
    }

    pub(crate) fn of_all(reports: Vec<Self>) -> Self {
        let mut all = Self::default();
        for report in reports {
            all.rows.extend(report.rows);
            all.failures.extend(report.failures);
        }
        all
    }

    fn row(&mut self, what: &str, before: impl Display, after: impl Display, verdict: &str) {
        self.rows.push([format!("{}: {what}", self.worker), before.to_string(), after.to_string(), verdict.to_owned()]);
    }

    pub(crate) fn compare(&mut self, when: &str, before: &MachineState, after: &MachineState) {
        let differences = after.differences(before);
        for kind in after.kinds() {
            let is_equal = differences.iter().all(|difference| difference.kind != kind);
            let verdict = if is_equal { "equal" } else { "DIFFERS" };
            self.row(&format!("{kind} {when}"), before.count(kind), after.count(kind), verdict);
        }
        for difference in differences {
            self.failures.push(format!("{}, {when}: {difference:?}", self.worker));
        }
    }

    pub(crate) fn left(&mut self, when: &str, left: Vec<String>) {
        let verdict = if left.is_empty() { "nothing left" } else { "LEFT" };
        self.row(&format!("anything {when}"), 0, left.len(), verdict);
        self.failures.extend(left.into_iter().map(|thing| format!("{}, {when}: {thing}", self.worker)));
    }

    pub(crate) fn memory(&mut self, half: &str, before: Memory, after: Memory, operations: u64) {
        let allowed = GROWTH_KIB_MAX + operations * GROWTH_BYTES_PER_OPERATION_MAX / 1024;
        let grown = after.rss_kib.saturating_sub(before.rss_kib);
        let verdict = if grown <= allowed { format!("+{grown} KiB of {allowed}") } else { "GROWS".to_owned() };
        if grown > allowed {
            self.failures.push(format!("{}: the {half} grew by {grown} KiB, {allowed} are allowed", self.worker));
        }
        self.row(&format!("RSS of the {half}, KiB"), before.rss_kib, after.rss_kib, &verdict);
        self.row(&format!("PSS of the {half}, KiB"), before.pss_kib, after.pss_kib, "told");
    }

    pub(crate) fn killed(&mut self, what: &'static str) {
        *self.kills.entry(what).or_default() += 1;
    }

    pub(crate) fn answers(&mut self, answers: &Answers) {
        for (what, count) in std::mem::take(&mut self.kills) {
            self.row(&format!("kills of a {what}"), "", count, "done");
        }
        for (what, count) in answers.counted() {
            self.row(&what, "", count, "counted");
        }
        let wrong = answers.wrong_ones();
        self.row("wrong answers", 0, wrong, if wrong == 0 { "none" } else { "WRONG" });
        if wrong > 0 {
            self.failures.push(format!("{}: {wrong} wrong answers", self.worker));
        }
    }

    /// Told and not judged: other daemons make groups too, and the kernel keeps removed ones.
    pub(crate) fn kernel_groups(&mut self, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
        for (controller, count) in after {
            let earlier = before.get(controller).copied().unwrap_or(0);
            if earlier != *count {
                self.row(&format!("groups of {controller} the kernel holds"), earlier, count, "whole machine");
            }
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn print(&self) {
        let head = ["what", "before", "after", "verdict"].map(str::to_owned);
        let widths: Vec<usize> = (0..4)
            .map(|column| self.rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        for row in [&head].into_iter().chain(&self.rows) {
            let [what, before, after, verdict] = row;
            println!("{what:0$} · {before:>1$} · {after:>2$} · {verdict}", widths[0], widths[1], widths[2]);
        }
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
    }
}
