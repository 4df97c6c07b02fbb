//! One promise: what · goal · measured · met or missed.

use std::fmt;

use serde_json::{Value, json};

use super::Table;
use crate::stats::Interval;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Ratio,
    Milliseconds,
    Megabytes,
    Kilobytes,
    PerSecond,
    /// CPU time of one request.
    Microseconds,
    Replicas,
}

/// Met where the figure is at most this.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal(pub(crate) f64);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) figure: f64,
    pub(crate) interval: Option<Interval>,
    /// Samples that the figure was made of.
    pub(crate) count: usize,
}

/// A row is never left out: what could not be measured says why.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) goal: Option<Goal>,
    pub(crate) outcome: Result<Measured, String>,
}

impl Row {
    pub(crate) fn new(
        what: impl Into<String>,
        unit: Unit,
        goal: Option<f64>,
        outcome: Result<(f64, Option<Interval>, usize), String>,
    ) -> Self {
        let outcome = outcome.map(|(figure, interval, count)| Measured { figure, interval, count });
        Self { what: what.into(), unit, goal: goal.map(Goal), outcome }
    }

    pub(crate) fn has_goal(&self) -> bool {
        self.goal.is_some()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.outcome.is_err()
    }

    pub(super) fn verdict(&self) -> &'static str {
        match (&self.outcome, self.goal) {
            (Err(_), _) => "FAILED",
            (Ok(_), None) => "",
            (Ok(measured), Some(Goal(most))) if measured.figure <= most => "met",
            // NaN too: what is no number meets nothing.
            (Ok(_), Some(_)) => "missed",
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut row = json!({
            "what": self.what, "unit": self.unit.to_string(), "goal_at_most": self.goal.map(|Goal(most)| most),
            "verdict": self.verdict().to_lowercase(),
        });
        match &self.outcome {
            Ok(measured) => {
                row["measured"] = json!(measured.figure);
                row["n"] = json!(measured.count);
                row["interval_95"] = measured.interval.map_or(Value::Null, |it| json!([it.low, it.high]));
            }
            Err(reason) => row["failed"] = json!(reason),
        }
        row
    }
}

pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["what", "goal", "measured", "95 % of resamples", "n", ""]);
    for row in rows {
        let figure = |value: f64| row.unit.figure(value);
        let goal = row.goal.map_or_else(String::new, |Goal(most)| format!("≤ {}", figure(most)));
        let (measured, interval, count) = match &row.outcome {
            Ok(Measured { figure: value, interval, count }) => {
                let interval = interval.map(|it| format!("{} – {}", figure(it.low), figure(it.high)));
                (figure(*value), interval.unwrap_or_default(), count.to_string())
            }
            Err(reason) => (reason.clone(), String::new(), String::new()),
        };
        table.row([row.what.clone(), goal, measured, interval, count, row.verdict().to_owned()]);
    }
    table
}

impl Unit {
    /// With three digits where that says more.
    pub(crate) fn figure(self, value: f64) -> String {
        let number = match value.abs() {
            _ if self == Self::Replicas => format!("{value:.0}"),
            size if size >= 100.0 => format!("{value:.0}"),
            size if size >= 10.0 => format!("{value:.1}"),
            size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
            _ => format!("{value:.3}"),
        };
        if self == Self::Ratio { number } else { format!("{number} {self}") }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ratio => "ratio",
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
            Self::Kilobytes => "KB",
            Self::PerSecond => "/s",
            Self::Microseconds => "µs",
            Self::Replicas => "replicas",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Option<f64>, outcome: Result<f64, &str>) -> Row {
        let outcome = outcome.map(|figure| (figure, None, 3)).map_err(str::to_owned);
        Row::new("what", Unit::Ratio, goal, outcome)
    }

    #[test]
    fn a_goal_is_met_up_to_its_value() {
        assert_eq!(row(Some(0.35), Ok(0.35)).verdict(), "met");
        assert_eq!(row(Some(0.35), Ok(0.36)).verdict(), "missed");
        assert_eq!(row(Some(0.35), Ok(f64::NAN)).verdict(), "missed");
        assert_eq!(row(None, Ok(1.0)).verdict(), "");
    }

    #[test]
    fn small_figures_keep_their_digits() {
        let figures = [0.0, 0.0567, 0.567, 56.7, 567.0].map(|value| Unit::Milliseconds.figure(value));
        assert_eq!(figures, ["0.00 ms", "0.057 ms", "0.57 ms", "56.7 ms", "567 ms"]);
    }

    #[test]
    fn what_was_not_measured_stays_and_says_why() {
        let rows = [row(Some(0.35), Err("runc is not installed"))];
        let text = table(&rows).to_string();
        assert!(text.contains("| what | ≤ 0.35 | runc is not installed |") && text.contains("FAILED"), "{text}");
        assert_eq!(rows[0].json()["failed"], "runc is not installed");
    }
}
