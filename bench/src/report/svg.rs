//! As much of SVG as plots of a benchmark need.

use std::fmt::Write as _;

/// Ends of a scale in the data, and on the canvas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    data: (f64, f64),
    canvas: (f64, f64),
    is_logarithmic: bool,
}

impl Scale {
    pub(super) fn linear(data: (f64, f64), canvas: (f64, f64)) -> Self {
        Self { data, canvas, is_logarithmic: false }
    }

    /// Both ends of the data are above 0.
    pub(super) fn logarithmic(data: (f64, f64), canvas: (f64, f64)) -> Self {
        Self { data, canvas, is_logarithmic: true }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let of = |value: f64| if self.is_logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (low, high) = (of(self.data.0), of(self.data.1));
        let share = if high > low { (of(value) - low) / (high - low) } else { 0.5 };
        self.canvas.0 + share.clamp(0.0, 1.0) * (self.canvas.1 - self.canvas.0)
    }

    /// Round numbers within the scale: 1, 2 and 5 of each decade, or some five steps.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.data;
        if self.is_logarithmic {
            let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
            let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(decade)));
            return all.filter(|tick| *tick >= low && *tick <= high).collect();
        }
        let rough = ((high - low) / 5.0).max(f64::MIN_POSITIVE);
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=20)
            .map(|number| (low / step).ceil() * step + step * f64::from(number))
            .take_while(|it| *it <= high)
            .collect()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug)]
pub(super) struct Canvas {
    width: f64,
    height: f64,
    body: String,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    // Writing to a string cannot fail.
    pub(super) fn text(&mut self, (x, y): (f64, f64), size: u32, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        let _ = writeln!(
            self.body,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\" fill-opacity=\"0.45\"/>"
        );
    }

    pub(super) fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
            width.max(0.5)
        );
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
    }

    pub(super) fn document(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" fill=\"#222\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_places_its_ends_and_the_middle() {
        let linear = Scale::linear((0.0, 10.0), (100.0, 200.0));
        assert_eq!([0.0, 5.0, 10.0, 99.0].map(|value| linear.at(value)), [100.0, 150.0, 200.0, 200.0]);
        let logarithmic = Scale::logarithmic((1.0, 100.0), (0.0, 10.0));
        assert_eq!([1.0, 10.0, 100.0].map(|value| logarithmic.at(value)), [0.0, 5.0, 10.0]);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::logarithmic((1.5, 60.0), (0.0, 1.0)).ticks(), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(Scale::linear((0.0, 1.0), (0.0, 1.0)).ticks().len(), 6);
    }

    #[test]
    fn text_cannot_become_markup() {
        let mut canvas = Canvas::new(10.0, 10.0);
        canvas.text((0.0, 0.0), 12, Anchor::Start, "p99 < 3 & more");
        assert!(canvas.document().contains(">p99 &lt; 3 &amp; more</text>"));
    }
}
