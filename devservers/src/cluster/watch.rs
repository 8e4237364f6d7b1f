//! How the gateways are, and what changed.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use carillon_devservers::gateway::Gateway;
use serde_json::Value;

/// How many events are remembered for the screen.
const EVENTS_MAX: usize = 12;

/// What is known of a gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pid: Option<u32>,
    pub(crate) state: State,
    pub(crate) partitions: BTreeSet<u64>,
    pub(crate) moving: u64,
    pub(crate) connections: u64,
    pub(crate) users: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum State {
    /// It runs, and has not answered yet.
    #[default]
    Starting,
    Up,
    /// It answers, and says what is wrong.
    Degraded,
    /// It runs, and does not answer.
    Silent,
    Gone(String),
}

/// The gateways, as they were last seen.
pub(crate) struct Watch {
    pub(crate) rows: Vec<Row>,
    /// What happened, the newest last; and how many of it were not shown as lines yet.
    pub(crate) events: VecDeque<String>,
    pub(crate) news: usize,
    has_settled: bool,
    is_settled: bool,
    /// Since when homes are without their node.
    broken_at: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(gateways: usize) -> Self {
        Self {
            rows: vec![Row::default(); gateways],
            events: VecDeque::new(),
            news: 0,
            has_settled: false,
            is_settled: false,
            broken_at: None,
        }
    }

    /// Asks everyone, and notes what changed.
    pub(crate) fn look(&mut self, gateways: &mut [Gateway]) -> anyhow::Result<()> {
        let mut seen = Vec::new();
        for (gateway, before) in gateways.iter_mut().zip(&self.rows) {
            seen.push(look_at(gateway, before)?);
        }
        let rows = std::mem::take(&mut self.rows);
        for (before, (row, _)) in rows.iter().zip(&seen) {
            self.compare(before, row);
        }
        self.is_settled = is_settled(&seen);
        self.rows = seen.into_iter().map(|(row, _)| row).collect();
        Ok(())
    }

    fn compare(&mut self, before: &Row, row: &Row) {
        if before.state != row.state {
            let name = &row.name;
            match &row.state {
                State::Gone(how) => {
                    self.broken_at = Some(Instant::now());
                    let count = before.partitions.len();
                    self.note(format!("{name} ended ({how}); it was the home of {count} partitions"));
                }
                State::Silent => {
                    self.broken_at = Some(Instant::now());
                    self.note(format!("{name} does not answer any more (frozen, or very busy)"));
                }
                State::Degraded => self.note(format!("{name} says that NATS is away or does not answer")),
                State::Up if before.state != State::Starting => {
                    self.note(format!("{name} answers as it should again"))
                }
                State::Up | State::Starting => {}
            }
        }
        let more: BTreeSet<u64> = row.partitions.difference(&before.partitions).copied().collect();
        if self.has_settled && !more.is_empty() {
            let (name, count, after) = (&row.name, more.len(), self.after());
            self.note(format!("{name} is the home of {count} more{after}: {}", ranges(&more)));
        }
    }

    fn after(&self) -> String {
        self.broken_at.map_or(String::new(), |at| format!(" {:.1} s later", at.elapsed().as_secs_f64()))
    }

    fn note(&mut self, event: String) {
        self.events.push_back(event);
        self.news += 1;
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
        self.news = self.news.min(self.events.len());
    }

    /// Says so when every partition has its home, for the first time and after each trouble.
    pub(crate) fn note_settled(&mut self, started: Instant) {
        if !self.is_settled {
            return;
        }
        if !self.has_settled {
            self.has_settled = true;
            self.note(format!(
                "settled {:.1} s after the gateways were started",
                started.elapsed().as_secs_f64()
            ));
        } else if self.broken_at.is_some() {
            let after = self.after();
            self.broken_at = None;
            self.note(format!("every partition has its home again{after}"));
        }
    }

    pub(crate) fn was_never_settled(&self) -> bool {
        !self.has_settled
    }
}

/// A gateway now, and how many partitions it thinks there are.
fn look_at(gateway: &mut Gateway, before: &Row) -> anyhow::Result<(Row, u64)> {
    let ended = gateway.server.ended()?;
    let mut row = Row {
        name: gateway.name().to_owned(),
        url: gateway.url(),
        pid: ended.is_none().then(|| gateway.server.pid()),
        ..Row::default()
    };
    // Somebody else may have started it again.
    let Ok(stats) = gateway.stats() else {
        row.state = match ended {
            Some(how) => State::Gone(tell(how)),
            None if before.state == State::Starting => State::Starting,
            None => State::Silent,
        };
        // What it had is another's when that one says so; until then, nobody's.
        return Ok((row, 0));
    };
    let number = |name: &str| stats[name].as_u64().unwrap_or_default();
    (row.moving, row.connections, row.users) =
        (number("partitions_moving"), number("connections"), number("users"));
    let cluster = &stats["cluster"];
    let here = cluster["partitions"].as_array().into_iter().flatten();
    row.partitions = here.filter_map(Value::as_u64).collect();
    row.state = match cluster["trouble"].is_null() {
        true => State::Up,
        // Nobody acknowledges a node that has just come.
        false if before.state == State::Starting => State::Starting,
        false => State::Degraded,
    };
    let others = cluster["others"].as_array().into_iter().flatten();
    let elsewhere: u64 = others.filter_map(|other| other["partitions"].as_u64()).sum();
    let total = row.partitions.len() as u64 + row.moving + elsewhere;
    Ok((row, total))
}

/// Whether all that answer agree, and every partition is with one of them.
fn is_settled(seen: &[(Row, u64)]) -> bool {
    let is_starting = seen.iter().any(|(row, _)| row.state == State::Starting);
    let mut up = seen.iter().filter(|(row, _)| row.state == State::Up).peekable();
    let Some((_, total)) = up.peek().map(|(row, total)| (row, *total)) else { return false };
    let here: usize = up.clone().map(|(row, _)| row.partitions.len()).sum();
    !is_starting && total > 0 && here as u64 == total && up.all(|(row, its)| row.moving == 0 && *its == total)
}

fn tell(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "nobody knows how".to_owned(),
    }
}

/// `0-3 7 9-10`.
pub(crate) fn ranges(numbers: &BTreeSet<u64>) -> String {
    let mut text: Vec<String> = Vec::new();
    let mut numbers = numbers.iter().copied().peekable();
    while let Some(first) = numbers.next() {
        let mut last = first;
        while let Some(next) = numbers.next_if_eq(&(last + 1)) {
            last = next;
        }
        text.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
    }
    text.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: State, partitions: impl IntoIterator<Item = u64>) -> Row {
        Row { name: "a".to_owned(), state, partitions: partitions.into_iter().collect(), ..Row::default() }
    }

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(ranges(&[0, 1, 2, 3, 7, 9, 10].into()), "0-3 7 9-10");
        assert_eq!(ranges(&BTreeSet::new()), "");
    }

    #[test]
    fn it_is_settled_when_all_that_answer_have_all_partitions() {
        let up = |partitions: std::ops::Range<u64>, total| (row(State::Up, partitions), total);
        assert!(is_settled(&[up(0..3, 5), up(3..5, 5)]));
        assert!(!is_settled(&[up(0..3, 5), up(3..4, 5)]));
        assert!(!is_settled(&[up(0..3, 5), (row(State::Starting, []), 0)]));
        let gone = || (row(State::Gone("signal 9".to_owned()), []), 0);
        assert!(!is_settled(&[up(0..3, 5), gone()]));
        assert!(is_settled(&[up(0..5, 5), gone()]));
        assert!(!is_settled(&[gone(), gone()]));
    }
}
