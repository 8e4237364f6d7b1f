//! `connect`: sessions that open and end, at a fixed rate or as fast as they come: a TCP connection, the upgrade, a token that
//! is checked, the welcome.

use std::time::{Duration, Instant};

use anyhow::bail;
use carillon_protocol::Frame;
use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Target;
use crate::clock::now_us;
use crate::drive::lead::LEAD;
use crate::drive::{LATENCY_MAX_US, Timing};
use crate::fleet::Fleet;
use crate::pace::Pace;
use crate::report::{Figure, Recorded, Table};
use crate::timeline::{Second, Timeline};
use crate::worker::{self, Order, Report, Sessions};

/// How long a session may take to be welcome.
const PATIENCE: Duration = Duration::from_secs(30);
/// Users that take turns: a user's next session has a device of its own name, so that none replaces another.
const USERS: u64 = 10_000;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    #[command(flatten)]
    target: Target,
    /// Sessions opened in a second, in all; 0 for as many as the node takes
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Sessions that each worker has on their way at once, at the most
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    opening: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Processes that drive
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
}

/// One worker's share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    sessions: Sessions,
    per_s: Option<f64>,
    opening: u64,
    seconds: u64,
    start_us: u64,
}

/// What a worker measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// From when a session was due until it was welcome, in microseconds.
    welcomes_us: Recorded,
    /// Connections that ended before that.
    lost: u64,
    /// Why the first of them did.
    why_lost: Option<String>,
}

/// Runs it.
pub fn run(connect: &Connect) -> anyhow::Result<Table> {
    let gateway = connect.target.gateway()?;
    let mut workers = worker::start(connect.workers)?;
    let cpu = gateway.pid().map(|_| gateway.cpu()).transpose()?;
    eprintln!("sessions come and go for {} s", connect.seconds);
    let timing = Timing { ramp_s: 0, warm_up_s: 0, seconds: connect.seconds };
    let mut timeline = Timeline::start(&gateway, timing)?;
    let start_us = now_us() + LEAD.as_micros() as u64;
    for (index, worker) in (0..).zip(&mut workers) {
        let sessions = Sessions {
            address: gateway.address,
            others: Vec::new(),
            transport: connect.target.transport,
            tls: gateway.tls,
            key: gateway.key(),
            first_user: 1 + index * USERS,
            count: USERS,
        };
        let per_s = (connect.rate > 0).then(|| connect.rate as f64 / connect.workers as f64);
        let load = Load { sessions, per_s, opening: connect.opening, seconds: connect.seconds, start_us };
        worker.order(&Order::Connect(load))?;
    }
    for _ in 0..connect.seconds {
        let seconds = workers.iter_mut().map(worker::second).collect::<Result<Vec<_>, _>>()?;
        timeline.second(&gateway, seconds)?;
    }
    let (mut welcomes, mut lost, mut why_lost) = (Recorded::default(), 0, None);
    for worker in &mut workers {
        let Report::Connect(measured) = worker.report()? else { bail!("a report of something else") };
        welcomes.add(measured.welcomes_us);
        lost += measured.lost;
        why_lost = why_lost.or(measured.why_lost);
    }
    if let Some(why) = why_lost {
        bail!("{lost} connections ended before they were welcome; the first: {why}");
    }
    let welcomes = welcomes.histogram()?;
    let ms = |quantile| welcomes.value_at_quantile(quantile) as f64 / 1000.0;
    let per_s = welcomes.len() as f64 / connect.seconds as f64;
    let goal = 0.99 * connect.rate as f64;
    let opened = Figure::new("sessions opened, welcome and closed", per_s, "sessions/s");
    let mut figures = vec![
        if connect.rate > 0 { opened.at_least(goal) } else { opened },
        Figure::new("  half welcome within", ms(0.5), "ms from when it was due"),
        Figure::new("  99 % within", ms(0.99), "ms"),
        Figure::new("  99.9 % within", ms(0.999), "ms"),
    ];
    if let Some(before) = cpu {
        let each = (gateway.cpu()? - before).as_secs_f64() * 1e6 / welcomes.len().max(1) as f64;
        figures.push(Figure::new("the gateway's processor time", each, "µs a session"));
    }
    Ok(Table::new("connect", figures).with_moments(timeline.into_moments()))
}

/// A worker's side: as soon as a session is welcome, its place is free for the next, and it ends when that begins. Says
/// every second how it went.
pub fn connect(
    fleet: &mut Fleet,
    load: &Load,
    mut each_second: impl FnMut(Second) -> anyhow::Result<()>,
) -> anyhow::Result<Measured> {
    let place = load.sessions.place()?;
    let start_us = load.start_us;
    std::thread::sleep(Duration::from_micros(start_us.saturating_sub(now_us())));
    let mut this_second = ThisSecond::new(start_us)?;
    let end_us = start_us + load.seconds * 1_000_000;
    let mut pace = load.per_s.map(|per_s| Pace::new(per_s, 0, start_us));
    let mut free: Vec<usize> = (0..load.opening as usize).rev().collect();
    let mut due_us = vec![0; load.opening as usize];
    let (mut begun, mut measured) = (0, Measured::default());
    let mut welcomes = Histogram::<u64>::new_with_max(LATENCY_MAX_US, 3)?;
    let deadline = Instant::now() + Duration::from_secs(load.seconds) + PATIENCE;
    while now_us() < end_us || free.len() < load.opening as usize {
        while now_us() < end_us
            && let Some(&number) = free.last()
        {
            let due = match &mut pace {
                Some(pace) => pace.due(now_us()),
                None => Some(now_us()),
            };
            let Some(due) = due else { break };
            free.pop();
            due_us[number] = due;
            let user = load.sessions.first_user + begun % load.sessions.count;
            fleet.connect_at(&place, number, user)?;
            begun += 1;
            this_second.opened += 1;
        }
        let mut welcome = Vec::new();
        fleet.turn(Duration::from_millis(1), |number, _, frame| match frame {
            Frame::Welcome { .. } => welcome.push(number),
            Frame::Error { message, .. } => measured.why_lost = Some(message.into_owned()),
            _ => {}
        })?;
        for number in welcome {
            let latency_us = now_us().saturating_sub(due_us[number]);
            welcomes.saturating_record(latency_us);
            this_second.welcomes_us.saturating_record(latency_us);
            free.push(number);
        }
        for number in std::mem::take(&mut fleet.lost) {
            measured.lost += 1;
            measured.why_lost.get_or_insert_with(|| fleet.links[number].why_closed().to_owned());
            // Of one that was welcome the place is free already.
            if !free.contains(&number) {
                free.push(number);
            }
        }
        while now_us() >= this_second.end_us && this_second.end_us <= end_us {
            each_second(this_second.take())?;
        }
        if Instant::now() > deadline {
            bail!("sessions were not welcome within {PATIENCE:?}");
        }
    }
    while this_second.end_us <= end_us {
        each_second(this_second.take())?;
    }
    measured.welcomes_us = Recorded::of(&welcomes);
    Ok(measured)
}

/// What happened in the second that is not over.
struct ThisSecond {
    end_us: u64,
    opened: u64,
    welcomes_us: Histogram<u64>,
}

impl ThisSecond {
    fn new(start_us: u64) -> anyhow::Result<Self> {
        let welcomes_us = Histogram::new_with_max(LATENCY_MAX_US, 3)?;
        Ok(Self { end_us: start_us + 1_000_000, opened: 0, welcomes_us })
    }

    /// It is over, and the next one begins.
    fn take(&mut self) -> Second {
        self.end_us += 1_000_000;
        let opened = std::mem::take(&mut self.opened);
        let (welcome, welcomes_us) = (self.welcomes_us.len(), Recorded::of(&self.welcomes_us));
        self.welcomes_us.reset();
        Second { opened, welcome, welcomes_us, ..Second::default() }
    }
}
