//! The three kinds of plots: how samples are spread, how far from its goal each row is, and what becomes of the
//! latency as the rate rises.

use super::{
    row::{Goal, Measured, Row},
    svg::{Anchor, Canvas, Scale},
};
use crate::stats::Samples;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 330.0;
const RIGHT: f64 = 40.0;
/// Room for figures beside bars.
const FIGURES: f64 = 140.0;
const TOP: f64 = 50.0;
const LANE: f64 = 26.0;
const GREY: &str = "#bbb";
const INK: &str = "#222";
const OURS: &str = "#1f6f8b";
const FLOOR: &str = "#c2571a";
const MISSED: &str = "#b3261e";
const COLOURS: [&str; 4] = [OURS, FLOOR, "#4b7f2a", "#6d4c9f"];

/// Samples of one thing, as a row of dots with its median.
#[derive(Debug)]
pub(crate) struct Strip<'a> {
    pub(crate) label: String,
    /// Where it could be measured.
    pub(crate) samples: Option<&'a Samples>,
    pub(crate) is_floor: bool,
}

/// A quantity against the rate, as points.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Milliseconds, on a logarithmic scale that all strips share.
pub(crate) fn strips(title: &str, strips: &[Strip<'_>]) -> String {
    let all = || strips.iter().filter_map(|strip| strip.samples).flat_map(|it| it.values().iter().copied());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.01, f64::max));
    let scale = Scale::logarithmic(((low * 0.9).max(0.001), high * 1.1), (LABELS, WIDTH - RIGHT));
    let (mut canvas, bottom) = lanes(title, strips.len());
    ticks(&mut canvas, &scale, bottom, "ms");
    for (strip, y) in strips.iter().zip(middles()) {
        let colour = if strip.is_floor { FLOOR } else { OURS };
        canvas.text((LABELS - 10.0, y + 4.0), 12, Anchor::End, &strip.label);
        let Some(samples) = strip.samples.filter(|samples| samples.count() > 0) else {
            canvas.text((LABELS + 6.0, y + 4.0), 11, Anchor::Start, "not measured");
            continue;
        };
        samples.values().iter().for_each(|value| canvas.dot((scale.at(*value), y), colour));
        let median = scale.at(samples.median());
        canvas.line((median, y - 9.0), (median, y + 9.0), INK, 2.0);
    }
    canvas.document()
}

/// Each figure as a share of its goal, which is the line at 1.
pub(crate) fn goals(part: &str, rows: &[Row]) -> String {
    let scale = Scale::linear((0.0, 2.5), (LABELS, WIDTH - RIGHT - FIGURES));
    let with_goal: Vec<(&Row, f64)> = rows.iter().filter_map(|row| Some((row, row.goal?.0))).collect();
    let (mut canvas, bottom) = lanes(&format!("{part}: measured ÷ goal; up to 1 is met"), with_goal.len());
    ticks(&mut canvas, &scale, bottom, "× goal");
    for ((row, goal), y) in with_goal.iter().zip(middles()) {
        canvas.text((LABELS - 10.0, y + 4.0), 11, Anchor::End, &shortened(&row.what));
        match &row.outcome {
            // A goal of 0 has no share of it.
            Ok(Measured { figure, interval, .. }) => {
                let share = |value: f64| if *goal > 0.0 { value / goal } else { value };
                let colour = if row.verdict() == "met" { OURS } else { MISSED };
                canvas.bar((LABELS, y - 7.0), (scale.at(share(*figure)) - LABELS, 14.0), colour);
                if let Some(it) = interval {
                    canvas.line((scale.at(share(it.low)), y), (scale.at(share(it.high)), y), INK, 2.0);
                }
                let figures = format!("{} of {}", row.unit.figure(*figure), row.unit.figure(Goal(*goal).0));
                canvas.text((WIDTH - RIGHT, y + 4.0), 10, Anchor::End, &figures);
            }
            Err(_) => canvas.text((LABELS + 6.0, y + 4.0), 11, Anchor::Start, "not measured"),
        }
    }
    let goal = scale.at(1.0);
    canvas.line((goal, TOP), (goal, bottom), INK, 1.5);
    canvas.document()
}

/// Milliseconds over requests per second; the latency's scale is logarithmic.
pub(crate) fn curves(title: &str, bound_ms: f64, curves: &[Curve]) -> String {
    let (left, bottom) = (70.0, 400.0);
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let highest = points().map(|(_, latency)| latency).fold(bound_ms, f64::max);
    let lowest = points().map(|(_, latency)| latency).fold(bound_ms, f64::min).max(0.01);
    let fastest = points().map(|(rate, _)| rate).fold(1.0, f64::max);
    let across = Scale::linear((0.0, fastest * 1.05), (left, WIDTH - RIGHT));
    let up = Scale::logarithmic((lowest * 0.8, highest * 1.2), (bottom, TOP));
    let mut canvas = Canvas::new(WIDTH, bottom + 60.0);
    canvas.text((20.0, 26.0), 16, Anchor::Start, title);
    ticks(&mut canvas, &across, bottom, "requests/s");
    for tick in up.ticks() {
        canvas.line((left, up.at(tick)), (WIDTH - RIGHT, up.at(tick)), "#eee", 1.0);
        canvas.text((left - 8.0, up.at(tick) + 4.0), 11, Anchor::End, &format!("{tick} ms"));
    }
    canvas.line((left, up.at(bound_ms)), (WIDTH - RIGHT, up.at(bound_ms)), MISSED, 1.5);
    for ((curve, colour), number) in curves.iter().zip(COLOURS.iter().cycle()).zip(0_u8..) {
        let placed: Vec<_> = curve.points.iter().map(|(rate, latency)| (across.at(*rate), up.at(*latency))).collect();
        canvas.path(&placed, colour);
        placed.iter().for_each(|point| canvas.dot(*point, colour));
        let x = left + 200.0 * f64::from(number);
        canvas.bar((x, bottom + 36.0), (10.0, 10.0), colour);
        canvas.text((x + 16.0, bottom + 45.0), 12, Anchor::Start, &curve.label);
    }
    canvas.document()
}

fn lanes(title: &str, count: usize) -> (Canvas, f64) {
    let bottom = TOP + LANE * count as f64;
    let mut canvas = Canvas::new(WIDTH, bottom + 50.0);
    canvas.text((20.0, 26.0), 16, Anchor::Start, title);
    (canvas, bottom)
}

fn middles() -> impl Iterator<Item = f64> {
    (0_u16..).map(|lane| TOP + LANE * (f64::from(lane) + 0.5))
}

fn ticks(canvas: &mut Canvas, scale: &Scale, bottom: f64, unit: &str) {
    for tick in scale.ticks() {
        canvas.line((scale.at(tick), TOP), (scale.at(tick), bottom), GREY, 0.5);
        // Steps are sums of binary fractions: 0.6000000000000001.
        let text = format!("{:.3}", tick);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        canvas.text((scale.at(tick), bottom + 18.0), 11, Anchor::Middle, text);
    }
    canvas.text((WIDTH - RIGHT, bottom + 38.0), 11, Anchor::End, unit);
}

/// As much as the margin has room for.
fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 56;
    if text.chars().count() <= CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(CHARACTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::row::Unit, *};

    #[test]
    fn a_strip_has_a_dot_for_each_sample() {
        let (ours, floor): (Samples, Samples) =
            ([10.0, 12.0, 11.0].into_iter().collect(), [90.0].into_iter().collect());
        let strip =
            |label: &str, samples, is_floor| Strip { label: label.to_owned(), samples: Some(samples), is_floor };
        let refused = Strip { label: "template".to_owned(), samples: None, is_floor: false };
        let svg = strips("silero", &[strip("claimed", &ours, false), strip("bare", &floor, true), refused]);
        assert_eq!((svg.matches("<circle").count(), svg.matches(FLOOR).count()), (4, 1));
        assert_eq!(svg.matches("not measured").count(), 1);
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn the_goal_is_a_line_and_a_missed_row_is_red() {
        let row = |figure| Row::new("a", Unit::Ratio, Some(0.5), Ok((figure, None, 9)));
        let failed = Row::new("b", Unit::Ratio, Some(0.5), Err("no runc".to_owned()));
        let svg = goals("cold-start", &[row(0.4), row(0.6), row(0.7), failed]);
        assert_eq!([MISSED, OURS, "not measured"].map(|it| svg.matches(it).count()), [2, 1, 1]);
    }

    #[test]
    fn nothing_measured_is_a_plot_without_curves() {
        assert!(!curves("silero", 10.0, &[]).contains("polyline"));
        assert!(!strips("silero", &[]).contains("NaN"));
    }
}
