//! How many instructions each bench took when that was last recorded, and what has moved since.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// Instructions by the bench's name.
pub type Instructions = BTreeMap<String, u64>;

/// What was recorded, as `bench/baseline.json` holds it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// The compiler and the tool that counted: with others the counts are others.
    pub made_with: Vec<String>,
    /// What was counted.
    pub instructions: Instructions,
}

/// A bench, before and now.
#[derive(Clone, PartialEq, Debug)]
pub struct Change<'a> {
    /// The bench.
    pub name: &'a str,
    /// As recorded; nothing where it is new.
    pub before: Option<u64>,
    /// As counted now; nothing where it is gone.
    pub now: Option<u64>,
}

impl Change<'_> {
    /// By how much it rose, in percent of what it was; nothing where it is new or gone.
    pub fn percent(&self) -> Option<f64> {
        let (before, now) = (self.before? as f64, self.now? as f64);
        Some((now - before) / before.max(1.0) * 100.0)
    }

    /// Whether it rose by more than `limit_percent`, or is gone, which could hide that.
    pub fn is_bad(&self, limit_percent: f64) -> bool {
        self.now.is_none() || self.percent().is_some_and(|percent| percent > limit_percent)
    }
}

/// Every bench that was recorded or is counted now, by name.
pub fn compare<'a>(before: &'a Instructions, now: &'a Instructions) -> Vec<Change<'a>> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let change =
        |name: &'a String| Change { name, before: before.get(name).copied(), now: now.get(name).copied() };
    names.into_iter().map(change).collect()
}

/// The counts in what gungraun prints as JSON: a line a bench.
pub fn read_counts(lines: &str) -> Result<Instructions, String> {
    lines.lines().filter(|line| !line.trim().is_empty()).map(read_count).collect()
}

fn read_count(line: &str) -> Result<(String, u64), String> {
    let unread = |what: &str| format!("a line of gungraun's has {what}: {line:.200}");
    let summary: Summary = serde_json::from_str(line).map_err(|error| unread(&error.to_string()))?;
    let mut counts = summary.profiles.iter().filter_map(|profile| profile.data.total.metrics.get("Ir"));
    let count = counts.next().and_then(|count| count.values.new.as_u64());
    let count = count.ok_or_else(|| unread("no count of instructions"))?;
    let id = summary.id.map_or(String::new(), |id| format!(" {id}"));
    Ok((format!("{}{id}", summary.function_name).replace('_', " "), count))
}

/// What is read of a line; gungraun's schema has more.
#[derive(Deserialize)]
struct Summary {
    function_name: String,
    id: Option<String>,
    profiles: Vec<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    metrics: BTreeMap<String, Metric>,
}

#[derive(Deserialize)]
struct Metric {
    values: Values,
}

/// Rates are among the metrics too, and are no whole numbers.
#[derive(Deserialize)]
struct Values {
    new: serde_json::Number,
}

/// One line of the table: name, before, now, percent.
impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let moved = match (self.percent(), self.before) {
            (Some(percent), _) => format!("{percent:+.2} %"),
            (None, None) => "new".to_owned(),
            (None, Some(_)) => "gone".to_owned(),
        };
        write!(f, "{:<36} {:>12} {:>12} {moved:>10}", self.name, number(self.before), number(self.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Instructions {
        counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn what_rises_by_more_than_the_limit_is_bad_and_what_falls_is_not() {
        let before = counts(&[("a", 1_000), ("b", 1_000), ("c", 1_000)]);
        let now = counts(&[("a", 1_030), ("b", 1_031), ("c", 500)]);
        let bad: Vec<bool> = compare(&before, &now).iter().map(|change| change.is_bad(3.0)).collect();
        assert_eq!(bad, [false, true, false]);
    }

    #[test]
    fn a_new_bench_is_fine_and_one_that_is_gone_is_not() {
        let (before, now) = (counts(&[("gone", 10)]), counts(&[("new", 10)]));
        let changes = compare(&before, &now);
        assert_eq!(changes[0], Change { name: "gone", before: Some(10), now: None });
        assert!(changes[0].is_bad(3.0));
        assert_eq!(changes[1], Change { name: "new", before: None, now: Some(10) });
        assert!(!changes[1].is_bad(3.0));
    }

    #[test]
    fn a_line_says_name_before_now_and_percent() {
        let change = Change { name: "outbox write", before: Some(200), now: Some(250) };
        let words: Vec<String> = change.to_string().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["outbox", "write", "200", "250", "+25.00", "%"]);
    }

    #[test]
    fn counts_are_read_from_gungrauns_lines_and_anything_else_is_an_error() {
        let line = r#"{"function_name":"mailbox_cross","id":"of_64","profiles":[{"tool":"Callgrind","data":{"parts":[],
            "total":{"metrics":{"Ir":{"values":{"new":42,"old":40}},"L1HitRate":{"values":{"new":3.5}}},"regressions":[]}}}],"version":"7"}"#;
        let line = line.replace('\n', "");
        assert_eq!(read_counts(&format!("{line}\n\n")), Ok(counts(&[("mailbox cross of 64", 42)])));
        assert!(read_counts("no JSON").is_err());
        assert!(read_counts(&line.replace("Ir", "D1")).is_err());
    }
}
