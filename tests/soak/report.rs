//! What was there before and after, and whether that is as promised.

use std::{collections::BTreeMap, fmt::Display};

use dormouse_tests::machine_state::{MachineState, Memory};

use crate::{answers::Answers, model::Worker};

/// What a half may grow by from its first work on: an allocator keeps some free memory for each thread
/// that ever needed it, and that levels out.
const GROWTH_KIB_MAX: u64 = 2_048;
/// What it may grow by once it has done half of its work: by then that has levelled out.
const GROWTH_OF_SECOND_HALF_KIB_MAX: u64 = 512;

const COLUMNS: [&str; 5] = ["what", "before", "after wakes and deploys", "after kills", "verdict"];

#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<[String; COLUMNS.len()]>,
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

    fn row(&mut self, what: &str, cells: [&dyn Display; 3], verdict: &str) {
        let what = if self.worker.is_empty() { what.to_owned() } else { format!("{}: {what}", self.worker) };
        let [before, worked, killed] = cells.map(|cell| cell.to_string());
        self.rows.push([what, before, worked, killed, verdict.to_owned()]);
    }

    fn fail(&mut self, what: &str) {
        self.failures.push(format!("{}: {what}", self.worker));
    }

    pub(crate) fn compare(&mut self, before: &MachineState, worked: &MachineState, killed: &MachineState) {
        let differences = [("wakes and deploys", worked), ("the kills", killed)]
            .map(|(after, state)| (after, state.differences(before)));
        for kind in before.kinds() {
            let is_equal = differences.iter().all(|(_, found)| found.iter().all(|difference| difference.kind != kind));
            let counts: [&dyn Display; 3] = [&before.count(kind), &worked.count(kind), &killed.count(kind)];
            self.row(kind, counts, if is_equal { "equal" } else { "DIFFERS" });
        }
        for (after, found) in differences {
            found.iter().for_each(|difference| self.fail(&format!("after {after} {difference:?}")));
        }
    }

    pub(crate) fn left(&mut self, when: &str, left: &[String]) {
        let verdict = if left.is_empty() { "nothing left" } else { "LEFT" };
        self.row(&format!("anything {when}"), [&"", &"", &left.len()], verdict);
        left.iter().for_each(|thing| self.fail(&format!("{when}: {thing}")));
    }

    /// `half` is between the two; None where too little was done for it to tell anything.
    pub(crate) fn memory(&mut self, of: &str, before: Memory, half: Option<Memory>, after: Memory) {
        let grown = after.rss_kib.saturating_sub(before.rss_kib);
        let late = half.map(|half| after.rss_kib.saturating_sub(half.rss_kib));
        let too_much = grown > GROWTH_KIB_MAX || late.is_some_and(|late| late > GROWTH_OF_SECOND_HALF_KIB_MAX);
        let in_second_half = late.map(|late| format!(", of that +{late} in the second half")).unwrap_or_default();
        let verdict = format!("{}+{grown}{in_second_half}", if too_much { "GROWS: " } else { "" });
        self.row(&format!("RSS of the {of}, KiB"), [&before.rss_kib, &after.rss_kib, &""], &verdict);
        self.row(&format!("PSS of the {of}, KiB"), [&before.pss_kib, &after.pss_kib, &""], "told");
        if too_much {
            self.fail(&format!("the {of} {verdict} KiB"));
        }
    }

    pub(crate) fn killed(&mut self, what: &'static str) {
        *self.kills.entry(what).or_default() += 1;
    }

    pub(crate) fn answers(&mut self, answers: &Answers) {
        for (what, count) in std::mem::take(&mut self.kills) {
            self.row(&format!("kills of a {what}"), [&"", &"", &count], "done");
        }
        for (what, count) in answers.counted() {
            self.row(&what, [&"", &"", &count], "counted");
        }
        let wrong = answers.wrong_ones();
        self.row("wrong answers", [&"", &"", &wrong], if wrong == 0 { "none" } else { "WRONG" });
        if wrong > 0 {
            self.fail(&format!("{wrong} wrong answers"));
        }
    }

    /// Told and not judged: other daemons make groups too, and the kernel keeps removed ones of v1 for
    /// as long as it caches a page of a file that was first read in them.
    pub(crate) fn kernel_groups(&mut self, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
        for (controller, count) in after {
            let earlier = before.get(controller).copied().unwrap_or(0);
            if earlier != *count {
                self.row(&format!("groups of {controller} in the kernel"), [&earlier, &"", count], "whole machine");
            }
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn print(&self) {
        let head = COLUMNS.map(str::to_owned);
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&head]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        for [what, before, worked, killed, verdict] in [&head].into_iter().chain(&self.rows) {
            println!(
                "{what:0$} · {before:>1$} · {worked:>2$} · {killed:>3$} · {verdict}",
                width(0),
                width(1),
                width(2),
                width(3)
            );
        }
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
    }
}
