//! A search for the highest rate that answers in time: what was tried, and its plot.

use std::fmt::Write;

use serde::Serialize;

use super::number;
use super::plot::{BOTTOM, HEIGHT, LEFT, Line, Plot, RIGHT, Scale, TOP, WIDTH, ticks};

/// The search.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Search {
    /// Every try, in the order in which they were made.
    pub tries: Vec<Try>,
    /// What 99 % must stay within, in milliseconds.
    pub bound_ms: f64,
    /// The highest rate that did, a second: the knee.
    pub knee: u64,
}

/// One rate, tried once.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Try {
    /// Sends a second.
    pub rate: u64,
    /// What 99 % stayed within, in milliseconds.
    pub p99_ms: f64,
    /// Whether it kept up, and within the bound.
    pub is_in_time: bool,
}

impl Search {
    /// The plot: the latency of each try over its rate, the bound across, the knee upright.
    pub fn svg(&self) -> String {
        let mut by_rate = self.tries.clone();
        by_rate.sort_by_key(|it| it.rate);
        let heights = by_rate.iter().map(|it| Some(it.p99_ms)).chain([Some(self.bound_ms)]).collect();
        let lines = vec![Line { name: "99 %", values: heights }];
        let scale = Scale::of(&Plot { title: "", unit: "", is_log: true, lines });
        let most = by_rate.last().map_or(1.0, |it| it.rate.max(1) as f64) * 1.05;
        let x = |rate: f64| LEFT + rate / most * (WIDTH - LEFT - RIGHT);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"99 % within, over the rate\">"
        );
        scale.grid(&mut svg);
        // Writing into a string does not fail.
        for rate in ticks(0.0, most, 8).into_iter().filter(|rate| *rate <= most) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}/s</text>",
                x(rate),
                HEIGHT - 8.0,
                number(rate)
            );
        }
        let (bound, right, knee) = (scale.y(self.bound_ms), WIDTH - RIGHT, x(self.knee as f64));
        let _ = write!(
            svg,
            "<path class=\"bound\" d=\"M{LEFT} {bound:.1}H{right}\"/>\
             <path class=\"at\" d=\"M{knee:.1} {TOP}V{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">the knee: {}/s</text>\
             <text x=\"{:.1}\" y=\"{:.1}\">the bound: {} ms</text>",
            HEIGHT - BOTTOM,
            knee - 6.0,
            TOP + 12.0,
            number(self.knee as f64),
            LEFT + 6.0,
            bound - 5.0,
            number(self.bound_ms),
        );
        for it in &by_rate {
            let (at, height) = (x(it.rate as f64), scale.y(it.p99_ms));
            let class = if it.is_in_time { "good" } else { "bad" };
            let _ = write!(
                svg,
                "<circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"4\"><title>{}/s: {} ms</title></circle>",
                number(it.rate as f64),
                number(it.p99_ms)
            );
        }
        svg.push_str("</svg>");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_try_is_a_point_and_those_in_time_lie_below_the_bound() {
        let tries = [(5_000, 3.0, true), (40_000, 90.0, false), (20_000, 12.0, true)];
        let tries = tries.map(|(rate, p99_ms, is_in_time)| Try { rate, p99_ms, is_in_time }).into();
        let svg = Search { tries, bound_ms: 20.0, knee: 20_000 }.svg();
        let number_in = |text: &str| text.split('"').next().and_then(|text| text.parse::<f64>().ok());
        let bound = svg.split("class=\"bound\" d=\"M70 ").nth(1).and_then(|rest| rest.split('H').next());
        let bound: f64 = bound.and_then(|it| it.parse().ok()).expect("a bound");
        let heights = |class: &str| -> Vec<f64> {
            let circle = format!("circle class=\"{class}\"");
            let of_class = svg.split(&circle).skip(1);
            of_class.filter_map(|rest| number_in(rest.split("cy=\"").nth(1)?)).collect()
        };
        assert!(heights("good").len() == 2 && heights("good").iter().all(|y| *y > bound), "{svg}");
        assert!(heights("bad").len() == 1 && heights("bad")[0] < bound, "{svg}");
        assert!(svg.contains("the knee: 20,000/s"), "{svg}");
    }

    #[test]
    fn nothing_that_was_tried_is_no_panic() {
        Search::default().svg();
    }
}
