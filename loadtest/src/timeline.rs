//! A run, second by second: what workers saw, put together with what the gateway took.

use std::io::IsTerminal;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::drive::Timing;
use crate::gateway::Gateway;
use crate::report::{Recorded, number};

/// One second of one worker, or of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Sends that were due and begun.
    pub begun: u64,
    /// Sends acknowledged.
    pub acknowledged: u64,
    /// Events that came.
    pub deliveries: u64,
    /// Typing and read markers that came.
    pub signals: u64,
    /// Sessions that came back.
    pub returned: u64,
    /// Sessions that were due and begun (`connect`).
    pub opened: u64,
    /// Sessions that were welcome (`connect`).
    pub welcome: u64,
    /// From when a session was due until it was welcome, in microseconds.
    pub welcomes_us: Recorded,
    /// From when a send was due until it was acknowledged, in microseconds.
    pub acks_us: Recorded,
    /// From when a send was due until one client had it, in microseconds.
    pub deliveries_us: Recorded,
}

impl Second {
    fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.acknowledged += other.acknowledged;
        self.deliveries += other.deliveries;
        self.signals += other.signals;
        self.returned += other.returned;
        self.opened += other.opened;
        self.welcome += other.welcome;
        self.welcomes_us.add(other.welcomes_us);
        self.acks_us.add(other.acks_us);
        self.deliveries_us.add(other.deliveries_us);
    }
}

/// One second of a run, as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// The second that begins then, since the run's start.
    pub at_s: u64,
    /// Whether it counts: not ramp, not warm-up.
    pub is_measured: bool,
    /// Sends that were due and begun.
    pub begun: u64,
    /// Sends acknowledged.
    pub acknowledged: u64,
    /// Events that came to clients.
    pub deliveries: u64,
    /// Typing and read markers that came to clients.
    pub signals: u64,
    /// Sessions that came back.
    pub returned: u64,
    /// Sessions that were due and begun (`connect`).
    pub opened: u64,
    /// Sessions that were welcome (`connect`).
    pub welcome: u64,
    /// From when a session was due until it was welcome.
    pub welcomes_ms: Percentiles,
    /// From when a send was due until it was acknowledged.
    pub acks_ms: Percentiles,
    /// From when a send was due until one client had it.
    pub deliveries_ms: Percentiles,
    /// The gateway's resident memory; nothing where it is not ours.
    pub resident_bytes: Option<u64>,
    /// The processor cores that the gateway kept busy; nothing where it is not ours.
    pub cores: Option<f64>,
}

/// What a share of a second's latencies stayed within, in milliseconds; 0 where there were none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of them.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
}

impl Percentiles {
    /// Of these latencies in microseconds.
    pub fn of(latencies_us: &Histogram<u64>) -> Self {
        let at = |quantile| latencies_us.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

/// A run as it goes: each second is put together, kept, and shown to who waits.
pub struct Timeline {
    gateway: Option<(u64, Duration)>,
    timing: Timing,
    moments: Vec<Moment>,
}

impl Timeline {
    /// From now on.
    pub fn start(gateway: &Gateway, timing: Timing) -> anyhow::Result<Self> {
        Ok(Self { gateway: reading(gateway)?, timing, moments: Vec::new() })
    }

    /// The next second, from each worker.
    pub fn second(&mut self, gateway: &Gateway, of_each: Vec<Second>) -> anyhow::Result<()> {
        let mut all = Second::default();
        of_each.into_iter().for_each(|second| all.add(second));
        let now = reading(gateway)?;
        let cores = self.gateway.zip(now).map(|((_, before), (_, cpu))| (cpu - before).as_secs_f64());
        self.gateway = now;
        let at_s = self.moments.len() as u64;
        self.moments.push(Moment {
            at_s,
            is_measured: at_s >= self.timing.measured_from_s(),
            begun: all.begun,
            acknowledged: all.acknowledged,
            deliveries: all.deliveries,
            signals: all.signals,
            returned: all.returned,
            opened: all.opened,
            welcome: all.welcome,
            welcomes_ms: Percentiles::of(&all.welcomes_us.histogram()?),
            acks_ms: Percentiles::of(&all.acks_us.histogram()?),
            deliveries_ms: Percentiles::of(&all.deliveries_us.histogram()?),
            resident_bytes: now.map(|(resident, _)| resident),
            cores,
        });
        self.show();
        Ok(())
    }

    /// A terminal has one line that changes; a file gets one every ten seconds.
    fn show(&self) {
        let Some(moment) = self.moments.last() else { return };
        let is_last = moment.at_s + 1 == self.timing.total_s();
        match (std::io::stderr().is_terminal(), is_last) {
            (true, false) => eprint!("\r\x1b[2K{}", self.line(moment)),
            (true, true) => eprintln!("\r\x1b[2K{}", self.line(moment)),
            (false, _) if is_last || moment.at_s % 10 == 0 => eprintln!("{}", self.line(moment)),
            (false, _) => {}
        }
    }

    fn line(&self, moment: &Moment) -> String {
        let mut line = format!(
            "{:>4} s of {}{}  ",
            moment.at_s + 1,
            self.timing.total_s(),
            if moment.is_measured { " " } else { " (not measured yet)" },
        );
        line += &match self.moments.iter().any(|moment| moment.opened > 0) {
            true => format!(
                "{} sessions/s, {} welcome; within {} ms half, {} ms 99 %",
                number(moment.opened as f64),
                number(moment.welcome as f64),
                number(moment.welcomes_ms.p50),
                number(moment.welcomes_ms.p99),
            ),
            false => format!(
                "{} sends/s, {} acked, {} delivered; acked within {} ms half, {} ms 99 %",
                number(moment.begun as f64),
                number(moment.acknowledged as f64),
                number(moment.deliveries as f64),
                number(moment.acks_ms.p50),
                number(moment.acks_ms.p99),
            ),
        };
        if let (Some(bytes), Some(cores)) = (moment.resident_bytes, moment.cores) {
            line += &format!("; {} MB, {cores:.2} cores", number(bytes as f64 / 1e6));
        }
        line
    }

    /// The run's seconds.
    pub fn into_moments(self) -> Vec<Moment> {
        self.moments
    }
}

fn reading(gateway: &Gateway) -> anyhow::Result<Option<(u64, Duration)>> {
    match gateway.pid() {
        Some(_) => Ok(Some((gateway.resident_bytes()?, gateway.cpu()?))),
        None => Ok(None),
    }
}
