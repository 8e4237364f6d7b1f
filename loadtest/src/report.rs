//! What a run prints: a table for people, the same as JSON for machines, and as a page with plots ([`html`]).

pub mod html;
pub mod plot;
pub mod search;

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::contest::Missing;
use crate::timeline::Moment;
use search::Search;

/// A figure that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Of what.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of which unit.
    pub unit: &'static str,
    /// What it should not exceed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// What it should reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

impl Figure {
    /// A figure without a goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, at_most: None, at_least: None }
    }

    /// With a goal that it should not exceed.
    pub fn at_most(self, goal: f64) -> Self {
        Self { at_most: Some(goal), ..self }
    }

    /// With a goal that it should reach.
    pub fn at_least(self, goal: f64) -> Self {
        Self { at_least: Some(goal), ..self }
    }

    /// Whether it is as it should be; nothing where it has no goal.
    pub fn is_reached(&self) -> Option<bool> {
        match (self.at_least, self.at_most) {
            (Some(goal), _) => Some(self.value >= goal),
            (_, Some(goal)) => Some(self.value <= goal),
            _ => None,
        }
    }

    fn goal(&self) -> String {
        let Some(is_reached) = self.is_reached() else { return String::new() };
        let (sign, goal) = match (self.at_least, self.at_most) {
            (Some(goal), _) => ("≥", goal),
            (_, goal) => ("≤", goal.unwrap_or_default()),
        };
        verdict(sign, goal, is_reached)
    }
}

/// A goal, and what came of it.
pub(crate) fn verdict(sign: &str, goal: f64, is_reached: bool) -> String {
    format!("  goal {sign} {}: {}", number(goal), if is_reached { "reached" } else { "missed" })
}

/// What a worker measured, on its way to who adds it up: each value, and how often.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recorded(Vec<(u64, u64)>);

impl Recorded {
    /// What is in a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self(histogram.iter_recorded().map(|it| (it.value_iterated_to(), it.count_at_value())).collect())
    }

    /// What another one recorded, too.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The same as a histogram again.
    pub fn histogram(&self) -> anyhow::Result<Histogram<u64>> {
        // Of no largest value: one that grows.
        let mut histogram = Histogram::new(3)?;
        for &(value, count) in &self.0 {
            histogram.record_n(value, count)?;
        }
        Ok(histogram)
    }
}

/// Values of several turns.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// The one in the middle.
    pub median: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of these; none where there are none (`NaN`).
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(values.len() / 2), most: at(values.len().saturating_sub(1)) }
    }
}

/// How, when and where a run was.
#[derive(Clone, Debug, Serialize)]
pub struct RunOf {
    /// The load tool's version.
    pub version: &'static str,
    /// The command that ran it.
    pub command: String,
    /// When its figures were ready, in UTC.
    pub ended: String,
    /// The machine: cores, processor, kernel.
    pub machine: String,
}

impl RunOf {
    /// This process.
    fn now() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), command: command(), ended: now(), machine: machine() }
    }
}

fn command() -> String {
    let program = "carillon-loadtest".to_owned();
    std::iter::once(program).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let plural = if cores == 1 { "core" } else { "cores" };
    format!("{cores} {plural}, {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

/// The time of day, to the minute.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    format!("{} {:02}:{:02} UTC", now.date(), now.hour(), now.minute())
}

/// What a scenario measured.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Which.
    pub scenario: &'static str,
    /// What.
    pub figures: Vec<Figure>,
    /// How, when and where.
    pub run: RunOf,
    /// Second by second, where the scenario is one that lasts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moments: Vec<Moment>,
    /// Rates that were tried, where the scenario looks for the highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// Servers that were to be compared with and were not there, or not to the end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// The first promise that was found broken, where the scenario counts them and goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// How people get to see it, where a line a figure is not it.
    #[serde(skip)]
    pub shown: Option<String>,
}

impl Table {
    /// A scenario's figures.
    pub fn new(scenario: &'static str, figures: Vec<Figure>) -> Self {
        let (moments, search, missing) = (Vec::new(), None, Vec::new());
        let (broken, shown) = (None, None);
        Self { scenario, figures, run: RunOf::now(), moments, search, missing, broken, shown }
    }

    /// With what was seen second by second.
    pub fn with_moments(self, moments: Vec<Moment>) -> Self {
        Self { moments, ..self }
    }

    /// With the rates that were tried.
    pub fn with_search(self, search: Search) -> Self {
        Self { search: Some(search), ..self }
    }

    /// With those who were not there, each once.
    pub fn without(mut self, missing: impl IntoIterator<Item = Missing>) -> Self {
        for one in missing {
            if !self.missing.contains(&one) {
                self.missing.push(one);
            }
        }
        self
    }

    /// The same, for people in that form.
    pub fn shown(self, shown: String) -> Self {
        Self { shown: Some(shown), ..self }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shown) = &self.shown {
            return f.write_str(shown);
        }
        writeln!(f, "{}", self.scenario)?;
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        for figure in &self.figures {
            let Figure { name, value, unit, .. } = figure;
            writeln!(f, "  {name:width$}  {:>12} {unit}{}", number(*value), figure.goal())?;
        }
        Ok(())
    }
}

/// For people: three digits behind the point where they count, and thousands apart.
pub fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{:.0}", value.abs());
    let mut parts = Vec::new();
    let mut rest = digits.as_str();
    while rest.len() > 3 {
        let (head, tail) = rest.split_at(rest.len() - 3);
        parts.push(tail);
        rest = head;
    }
    parts.push(rest);
    parts.reverse();
    format!("{}{}", if value < 0.0 { "-" } else { "" }, parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let shown: Vec<_> = [0.0, 0.954, 12.5, 1024.4, 1_234_567.0, -4321.0].map(number).into();
        assert_eq!(shown, ["0", "0.954", "12.5", "1,024", "1,234,567", "-4,321"]);
    }

    #[test]
    fn a_goal_that_is_missed_is_called_missed() {
        assert!(Figure::new("", 1.0, "").at_most(0.5).goal().contains("missed"));
        assert!(Figure::new("", 1.0, "").at_least(0.5).goal().contains("reached"));
    }
}
