//! One plot of a report: lines over the seconds of a run, as SVG that needs nothing from elsewhere.

use std::fmt::Write;

use super::number;

/// The picture's size, in its own units; a page scales it.
pub(super) const WIDTH: f64 = 760.0;
pub(super) const HEIGHT: f64 = 240.0;
/// Room for the labels.
pub(super) const LEFT: f64 = 70.0;
pub(super) const RIGHT: f64 = 12.0;
pub(super) const TOP: f64 = 10.0;
pub(super) const BOTTOM: f64 = 28.0;
/// A line has no more points than can be told apart.
const POINTS_MAX: usize = 700;

/// What a plot shows.
pub struct Plot {
    /// Of what it is.
    pub title: &'static str,
    /// In which unit.
    pub unit: &'static str,
    /// Whether each step up is a multiple: for latencies, whose tail is many times their middle.
    pub is_log: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line.
pub struct Line {
    /// What it is called.
    pub name: &'static str,
    /// A value for each second; nothing where there was none.
    pub values: Vec<Option<f64>>,
}

impl Plot {
    /// Whether there is anything to show.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.values.iter().all(Option::is_none))
    }

    /// The plot; seconds before `measured_from` lie in shade.
    pub fn svg(&self, measured_from: usize) -> String {
        let seconds = self.lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
        let scale = Scale::of(self);
        let x = |second: f64| LEFT + second / (seconds.max(2) - 1) as f64 * (WIDTH - LEFT - RIGHT);
        let mut svg = String::new();
        // Writing into a string does not fail.
        let _ = write!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}, in {}\">",
            self.title, self.unit
        );
        if measured_from > 0 {
            let width = x(measured_from.min(seconds.max(1) - 1) as f64) - LEFT;
            let height = HEIGHT - TOP - BOTTOM;
            let _ = write!(
                svg,
                "<rect class=\"shade\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
            );
        }
        scale.grid(&mut svg);
        for second in ticks(0.0, (seconds.max(2) - 1) as f64, 8).into_iter().filter(|it| it.fract() == 0.0) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                x(second),
                HEIGHT - 8.0,
                number(second)
            );
        }
        for (index, line) in self.lines.iter().enumerate() {
            let _ = write!(svg, "<path class=\"line l{index}\" d=\"{}\"/>", path(&line.values, x, &scale));
        }
        svg.push_str("</svg>");
        svg
    }
}

/// A line's path; it breaks where there is no value.
fn path(values: &[Option<f64>], x: impl Fn(f64) -> f64, scale: &Scale) -> String {
    let at_once = values.len().div_ceil(POINTS_MAX).max(1);
    let (mut path, mut is_drawing) = (String::new(), false);
    for (index, several) in values.chunks(at_once).enumerate() {
        // Of several seconds the highest is shown: a peak is what one looks for.
        let highest = several.iter().flatten().copied().reduce(f64::max);
        let Some(value) = highest.filter(|value| !scale.is_log || *value > 0.0) else {
            is_drawing = false;
            continue;
        };
        let command = if is_drawing { 'L' } else { 'M' };
        let _ = write!(path, "{command}{:.1} {:.1}", x((index * at_once) as f64), scale.y(value));
        is_drawing = true;
    }
    path
}

/// From values to heights.
pub(super) struct Scale {
    is_log: bool,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Scale {
    pub(super) fn of(plot: &Plot) -> Self {
        let values = || plot.lines.iter().flat_map(|line| line.values.iter().flatten().copied());
        let most = values().fold(0.0, f64::max);
        if !plot.is_log {
            let ticks = ticks(0.0, if most > 0.0 { most * 1.05 } else { 1.0 }, 5);
            let high = ticks.last().copied().unwrap_or(1.0).max(most);
            return Self { is_log: false, low: 0.0, high, ticks };
        }
        let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let (low, high) = match least.is_finite() {
            true => (least.log10().floor(), most.log10().ceil()),
            false => (0.0, 1.0),
        };
        let high = high.max(low + 1.0);
        let decades = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
        Self { is_log: true, low, high, ticks: decades }
    }

    /// A line across the picture for each round value, and the value beside it.
    pub(super) fn grid(&self, svg: &mut String) {
        for value in &self.ticks {
            let (y, right) = (self.y(*value), WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                number(*value)
            );
        }
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let value = if self.is_log { value.log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Round numbers from one to the other, about so many (Heckbert, "Nice Numbers for Graph Labels", Graphics Gems 1990).
pub(super) fn ticks(from: f64, to: f64, about: usize) -> Vec<f64> {
    let rough = (to - from) / about as f64;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|nice| nice * magnitude);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let count = ((to - from) / step).ceil() as usize;
    (0..=count).map(|index| from + index as f64 * step).filter(|tick| *tick <= to + step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(is_log: bool, values: &[Option<f64>]) -> Plot {
        let lines = vec![Line { name: "line", values: values.to_vec() }];
        Plot { title: "title", unit: "ms", is_log, lines }
    }

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        assert_eq!(ticks(0.0, 9.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 52_000.0, 5).last(), Some(&60_000.0));
    }

    #[test]
    fn a_line_rises_where_its_values_do_and_breaks_where_there_are_none() {
        let svg = plot(false, &[Some(1.0), Some(2.0), None, Some(2.0)]).svg(0);
        let path = svg.split("class=\"line l0\" d=\"").nth(1).and_then(|rest| rest.split('"').next());
        let path = path.expect("a line");
        assert_eq!(path.matches('M').count(), 2, "{path}");
        let ys: Vec<f64> = path
            .split(['M', 'L'])
            .filter_map(|point| point.split_whitespace().nth(1)?.parse().ok())
            .collect();
        assert!(ys[0] > ys[1], "a larger value stands higher: {path}");
    }

    #[test]
    fn a_peak_survives_where_seconds_are_drawn_together() {
        let mut values = vec![Some(1.0); 10_000];
        values[4_321] = Some(1_000.0);
        let plot = plot(true, &values);
        let (svg, peak) = (plot.svg(0), Scale::of(&plot).y(1_000.0));
        assert!(svg.contains(&format!(" {peak:.1}L")), "{peak}");
    }

    #[test]
    fn nothing_to_show_is_no_plot_and_no_panic() {
        for values in [&[][..], &[None, None], &[Some(0.0)]] {
            plot(true, values).svg(5);
            plot(false, values).svg(5);
        }
        assert!(plot(true, &[None]).is_empty());
    }
}
