//! Several servers under the same work in one run: they take turns, A B C A B C, so that what else the machine does meets all
//! of them. What counts is how Carillon's turns stand to the others', each to the one beside it.

use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::report::{Figure, Spread, number, verdict};

/// How long everyone works before it counts: caches fill, heaps grow.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long everyone works.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "How long")]
pub struct Length {
    /// Seconds of each turn
    #[arg(long, default_value_t = 4)]
    pub seconds: u64,
    /// Turns that each server has
    #[arg(long, default_value_t = 5)]
    pub turns: u64,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Messages under way at once.
    pub outstanding: u64,
    /// How long a turn is.
    pub turn: Duration,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// Pieces of work done in a second.
    pub per_second: f64,
    /// The server's processor time for one.
    pub cpu_us_each: f64,
}

impl Turn {
    /// A turn that did so many since `start`, with so much of the server's processor time.
    pub fn of(done: u64, start: Instant, cpu: Duration) -> Self {
        Self {
            per_second: done as f64 / start.elapsed().as_secs_f64(),
            cpu_us_each: cpu.as_secs_f64() * 1e6 / done as f64,
        }
    }
}

/// A server, and those who drive it.
pub trait Contender {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// What Carillon should reach against it, with so many messages outstanding.
    fn goal(&self, outstanding: u64) -> Option<Goal>;

    /// Works for a turn.
    fn turn(&mut self, load: Load) -> anyhow::Result<Turn>;
}

/// What Carillon should reach against another: how many times as much.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// In a second.
    Rate(f64),
    /// In a second of the server's processor time.
    Cpu(f64),
    /// The other is Carillon too, in another place, and should not fall behind further than that.
    CpuAtMost(f64),
}

/// A ratio as it should be.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// In a second.
    pub per_second: &'static str,
    /// In a second of the server's processor time.
    pub per_cpu_second: &'static str,
}

/// One kind of work, and how everyone did it. Carillon is the first.
pub struct Contest {
    /// What was done.
    work: String,
    unit: Unit,
    sides: Vec<Side>,
    missing: Vec<Missing>,
}

struct Side {
    name: &'static str,
    goal: Option<Goal>,
    turns: Vec<Turn>,
}

/// A server that was not there, or did not get to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What people call it.
    pub name: &'static str,
    /// Why, and how to have it there.
    pub why: String,
}

impl Missing {
    /// Nobody said where its program is; `how` to do so.
    pub fn not_given(name: &'static str, how: &str) -> Self {
        Self { name, why: format!("not given; {how}") }
    }

    /// It did not start, or let nobody in.
    pub fn no_part(name: &'static str, error: &anyhow::Error) -> Self {
        Self { name, why: format!("took no part: {error:#}") }
    }
}

impl Contest {
    /// Has everyone take so many turns, after a short one that does not count. Who fails in one is taken out of
    /// `contenders` and missing from then on; where that is the first, Carillon, nothing is left to compare with.
    pub fn hold<C: Contender>(
        work: String,
        unit: Unit,
        contenders: &mut Vec<C>,
        outstanding: u64,
        length: Length,
    ) -> anyhow::Result<Self> {
        let load = Load { outstanding, turn: Duration::from_secs(length.seconds) };
        let sides = contenders.iter().map(|contender| {
            let goal = contender.goal(load.outstanding);
            Side { name: contender.name(), goal, turns: Vec::new() }
        });
        let mut contest = Self { work, unit, sides: sides.collect(), missing: Vec::new() };
        let warm_up = Load { turn: WARM_UP.min(load.turn), ..load };
        contest.turn(contenders, warm_up, "the warm-up")?;
        contest.sides.iter_mut().for_each(|side| side.turns.clear());
        for number in 1..=length.turns {
            contest.turn(contenders, load, &format!("turn {number}"))?;
        }
        Ok(contest)
    }

    /// Everyone's next turn.
    fn turn<C: Contender>(&mut self, contenders: &mut Vec<C>, load: Load, which: &str) -> anyhow::Result<()> {
        let mut told = Vec::new();
        let mut place = 0;
        while place < contenders.len() {
            let side = &mut self.sides[place];
            match contenders[place].turn(load) {
                Ok(turn) => {
                    let Turn { per_second, cpu_us_each } = turn;
                    told.push(format!("{} {per_second:.0}/s, {cpu_us_each:.2} µs each", side.name));
                    side.turns.push(turn);
                    place += 1;
                }
                Err(error) if place == 0 => return Err(error),
                Err(error) => {
                    let why = format!("failed in {which}: {error:#}");
                    eprintln!("{}, {}: {why}", self.work, side.name);
                    self.missing.push(Missing { name: side.name, why });
                    self.sides.remove(place);
                    contenders.remove(place);
                }
            }
        }
        eprintln!("{}, {which}: {}", self.work, told.join("; "));
        Ok(())
    }

    /// Says also who was not there to begin with.
    pub fn without(mut self, missing: &[Missing]) -> Self {
        self.missing.extend_from_slice(missing);
        self
    }

    /// Who was not there, or not to the end.
    pub fn missing(&self) -> impl Iterator<Item = &Missing> {
        self.missing.iter()
    }

    /// Every side's medians, and Carillon's ratio to each of the others with its spread.
    pub fn figures(&self) -> Vec<Figure> {
        let Self { work, unit, .. } = self;
        let mut figures = Vec::new();
        for side in &self.sides {
            let name = format!("{work}: {}", side.name);
            figures.push(Figure::new(name.clone(), side.rate(), unit.per_second));
            figures.push(Figure::new(name, side.per_cpu(), unit.per_cpu_second));
        }
        for side in self.sides.iter().skip(1) {
            let (by_rate, by_cpu) = self.ratios(side);
            let name = |by| format!("{work}: Carillon to {}, a {by}", side.name);
            figures.extend(ratio_figures(&name("second"), by_rate, side.goal.and_then(Goal::by_rate)));
            figures.extend(ratio_figures(
                &name("server CPU-second"),
                by_cpu,
                side.goal.and_then(Goal::by_cpu),
            ));
        }
        figures
    }

    /// Carillon to that side, by rate and by processor time; each ratio is of two turns that followed one another.
    fn ratios(&self, theirs: &Side) -> (Spread, Spread) {
        let ours = self.sides.first().map(|side| side.turns.as_slice()).unwrap_or_default();
        let of = |ratio: fn((&Turn, &Turn)) -> f64| {
            Spread::of(ours.iter().zip(&theirs.turns).map(ratio).collect())
        };
        (
            of(|(ours, theirs)| ours.per_second / theirs.per_second),
            of(|(ours, theirs)| theirs.cpu_us_each / ours.cpu_us_each),
        )
    }
}

impl Side {
    fn rate(&self) -> f64 {
        Spread::of(self.turns.iter().map(|turn| turn.per_second).collect()).median
    }

    fn per_cpu(&self) -> f64 {
        Spread::of(self.turns.iter().map(|turn| 1e6 / turn.cpu_us_each).collect()).median
    }
}

impl Goal {
    fn by_rate(self) -> Option<Bound> {
        if let Self::Rate(goal) = self { Some(Bound::AtLeast(goal)) } else { None }
    }

    fn by_cpu(self) -> Option<Bound> {
        match self {
            Self::Rate(_) => None,
            Self::Cpu(goal) => Some(Bound::AtLeast(goal)),
            Self::CpuAtMost(goal) => Some(Bound::AtMost(goal)),
        }
    }
}

fn ratio_figures(name: &str, ratio: Spread, goal: Option<Bound>) -> [Figure; 3] {
    let median = Figure::new(name, ratio.median, "times (median turn)");
    [
        match goal {
            None => median,
            Some(Bound::AtLeast(goal)) => median.at_least(goal),
            Some(Bound::AtMost(goal)) => median.at_most(goal),
        },
        Figure::new(format!("{name}, smallest"), ratio.least, "times"),
        Figure::new(format!("{name}, largest"), ratio.most, "times"),
    ]
}

/// A table for people: a line a server.
impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, unit, .. } = self;
        writeln!(f, "{work}")?;
        writeln!(
            f,
            "  {:19}{:>14}  {:>14}  Carillon is so many times that (smallest–largest turn)",
            "", unit.per_second, "per CPU-second"
        )?;
        for (place, side) in self.sides.iter().enumerate() {
            let (rate, per_cpu) = (number(side.rate()), number(side.per_cpu()));
            write!(f, "  {:19}{rate:>14}  {per_cpu:>14}", side.name)?;
            if place > 0 {
                let (by_rate, by_cpu) = self.ratios(side);
                let by_rate = ratio(by_rate, side.goal.and_then(Goal::by_rate));
                let by_cpu = ratio(by_cpu, side.goal.and_then(Goal::by_cpu));
                write!(f, "  a second {by_rate}, a CPU-second {by_cpu}")?;
            }
            writeln!(f)?;
        }
        for Missing { name, why } in &self.missing {
            writeln!(f, "  {name:19}{why}")?;
        }
        Ok(())
    }
}

fn ratio(ratio: Spread, goal: Option<Bound>) -> String {
    let Spread { least, median, most } = ratio;
    let verdict = match goal {
        None => String::new(),
        Some(Bound::AtLeast(goal)) => verdict("≥", goal, median >= goal),
        Some(Bound::AtMost(goal)) => verdict("≤", goal, median <= goal),
    };
    format!("{median:.2} ({least:.2}–{most:.2}){verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Unit = Unit { per_second: "things/s", per_cpu_second: "things/CPU-s" };

    /// Takes turns that go as they are told to.
    struct Told(&'static str, Vec<Turn>);

    impl Contender for Told {
        fn name(&self) -> &'static str {
            self.0
        }

        fn goal(&self, _: u64) -> Option<Goal> {
            Some(Goal::Cpu(2.0))
        }

        fn turn(&mut self, _: Load) -> anyhow::Result<Turn> {
            anyhow::ensure!(!self.1.is_empty(), "no strength is left");
            Ok(self.1.remove(0))
        }
    }

    fn told(name: &'static str, turns: [(f64, f64); 4]) -> Told {
        Told(name, turns.map(|(per_second, cpu_us_each)| Turn { per_second, cpu_us_each }).into())
    }

    fn contest() -> Contest {
        let warm_up = (1.0, 1.0);
        let ours = told("Carillon", [warm_up, (100.0, 1.0), (200.0, 1.0), (300.0, 1.0)]);
        let theirs = told("slow", [warm_up, (100.0, 1.5), (100.0, 3.0), (100.0, 2.5)]);
        let length = Length { seconds: 0, turns: 3 };
        let missing = Missing::not_given("absent", "cargo install absent, then --absent PROGRAM");
        let contest =
            Contest::hold("work".into(), UNIT, &mut vec![ours, theirs], 1, length).expect("turns are taken");
        contest.without(&[missing])
    }

    #[test]
    fn who_fails_is_missing_and_the_others_go_on() {
        let turn = (100.0, 1.0);
        let ours = told("Carillon", [turn; 4]);
        let mut weak = told("weak", [turn; 4]);
        weak.1.truncate(2);
        let mut contenders = vec![ours, weak, told("strong", [turn; 4])];
        let length = Length { seconds: 0, turns: 3 };
        let contest =
            Contest::hold("work".into(), UNIT, &mut contenders, 1, length).expect("turns are taken");
        let names: Vec<_> = contest.sides.iter().map(|side| (side.name, side.turns.len())).collect();
        assert_eq!(names, [("Carillon", 3), ("strong", 3)]);
        let why = "failed in turn 2: no strength is left".to_owned();
        assert_eq!(contest.missing().collect::<Vec<_>>(), [&Missing { name: "weak", why }]);
        assert_eq!(contenders.len(), 2, "it takes no part in the next contest");
    }

    #[test]
    fn without_carillon_there_is_no_contest() {
        let mut ours = told("Carillon", [(100.0, 1.0); 4]);
        ours.1.truncate(2);
        let length = Length { seconds: 0, turns: 3 };
        assert!(Contest::hold("work".into(), UNIT, &mut vec![ours], 1, length).is_err());
    }

    #[test]
    fn ratios_are_of_turns_side_by_side_and_the_warm_up_does_not_count() {
        let figures = contest().figures();
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
        assert_eq!(value("work: Carillon"), Some(200.0));
        assert_eq!(value("work: Carillon to slow, a second"), Some(2.0));
        assert_eq!(value("work: Carillon to slow, a second, smallest"), Some(1.0));
        assert_eq!(value("work: Carillon to slow, a server CPU-second"), Some(2.5));
        assert_eq!(value("work: Carillon to slow, a server CPU-second, largest"), Some(3.0));
    }

    #[test]
    fn the_table_says_what_was_reached_and_who_was_not_there() {
        let shown = contest().to_string();
        assert!(shown.contains("a CPU-second 2.50 (1.50–3.00)  goal ≥ 2: reached"), "{shown}");
        assert!(
            shown.contains("absent             not given; cargo install absent, then --absent PROGRAM"),
            "{shown}"
        );
    }
}
