//! `soak`: a chat that goes on for hours, and what becomes of the gateway's memory.

use clap::Args;

use super::Target;
use super::chat::{self, People};
use crate::drive::lead::{self, Run};
use crate::report::{Figure, Table};
use crate::timeline::Moment;

/// Growth in an hour that is taken for a leak, as a share of what there is.
const GROWTH_MAX: f64 = 0.05;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Soak {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    people: People,
    /// Minutes that are measured; caches and logs fill in the first half, so memory is judged by the second
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Processes that drive; each holds its share of the sessions
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
}

/// Runs it.
pub fn run(soak: &Soak) -> anyhow::Result<Table> {
    let gateway = soak.target.gateway()?;
    let plan = soak.people.plan();
    let seconds = (soak.minutes * 60.0).ceil().max(2.0) as u64;
    let run = Run { seconds, warm_up: 0, ramp: 0, workers: soak.workers };
    let outcome = lead::drive(&gateway, soak.target.transport, &run, &plan)?;
    outcome.measured.must_be_clean()?;
    let mut figures = chat::figures(&plan, &outcome);
    if let Some(memory) = Memory::of(&outcome.moments) {
        figures.push(Figure::new("memory in the second half, middle", memory.bytes / 1e6, "MB resident"));
        figures.push(
            Figure::new("  it grows in an hour by", memory.growth_per_hour(), "of itself")
                .at_most(GROWTH_MAX),
        );
    }
    Ok(Table::new("soak", figures).with_moments(outcome.moments))
}

/// The gateway's memory in the second half of a run: a straight line through it.
struct Memory {
    /// In its middle.
    bytes: f64,
    /// How it rises.
    bytes_per_s: f64,
}

impl Memory {
    /// Nothing where memory was not seen, or not often enough for a line.
    fn of(moments: &[Moment]) -> Option<Self> {
        let points = moments[moments.len() / 2..].iter();
        let points = points.filter_map(|moment| Some((moment.at_s as f64, moment.resident_bytes? as f64)));
        let points: Vec<_> = points.collect();
        if points.len() < 2 {
            return None;
        }
        let count = points.len() as f64;
        let middle_s = points.iter().map(|(at_s, _)| at_s).sum::<f64>() / count;
        let bytes = points.iter().map(|(_, bytes)| bytes).sum::<f64>() / count;
        // Least squares: the slope that comes closest to all points.
        let together: f64 = points.iter().map(|(at_s, it)| (at_s - middle_s) * (it - bytes)).sum();
        let apart: f64 = points.iter().map(|(at_s, _)| (at_s - middle_s).powi(2)).sum();
        Some(Self { bytes, bytes_per_s: together / apart })
    }

    fn growth_per_hour(&self) -> f64 {
        self.bytes_per_s * 3600.0 / self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Percentiles;

    fn moments(resident_bytes: impl Fn(u64) -> u64) -> Vec<Moment> {
        let none = Percentiles { p50: 0.0, p99: 0.0, p999: 0.0 };
        let moment = |at_s| Moment {
            at_s,
            is_measured: true,
            begun: 0,
            acknowledged: 0,
            deliveries: 0,
            signals: 0,
            returned: 0,
            opened: 0,
            welcome: 0,
            welcomes_ms: none,
            acks_ms: none,
            deliveries_ms: none,
            resident_bytes: Some(resident_bytes(at_s)),
            cores: None,
        };
        (0..100).map(moment).collect()
    }

    #[test]
    fn memory_that_rises_is_found_to_rise_and_only_the_second_half_counts() {
        let rising = Memory::of(&moments(|at_s| 1_000_000 + 100 * at_s)).expect("a line");
        assert!((rising.bytes_per_s - 100.0).abs() < 1e-6, "{}", rising.bytes_per_s);
        let filled = Memory::of(&moments(|at_s| 1_000_000 + 10_000 * at_s.min(50))).expect("a line");
        assert!(filled.growth_per_hour().abs() < 1e-6, "{}", filled.growth_per_hour());
    }
}
