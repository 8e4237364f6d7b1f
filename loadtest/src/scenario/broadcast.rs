//! `broadcast`: one large room. One sender or many, everyone hears it; at a fixed rate, and how long until who has it.

use anyhow::bail;
use clap::Args;

use super::Target;
use super::chat::costs;
use crate::drive::Mix;
use crate::drive::lead::{self, Outcome, Plan, PlannedRooms, Run};
use crate::report::{Figure, Table};

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Broadcast {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    pub(super) crowd: Crowd,
    #[command(flatten)]
    run: Run,
}

/// The room.
#[derive(Args, Clone, Copy, Debug)]
pub struct Crowd {
    /// Members of the room, all of them connected
    #[arg(long, default_value_t = 5_000)]
    pub(super) subscribers: u64,
    /// Members who send
    #[arg(long, default_value_t = 1)]
    pub(super) senders: u64,
    /// Sends a second, of all senders together
    #[arg(long, default_value_t = 20.0)]
    pub(super) rate: f64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    pub(super) bytes: usize,
}

impl Crowd {
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        if self.senders == 0 || self.senders > self.subscribers {
            bail!("{} of {} members send: say between one and all of them", self.senders, self.subscribers);
        }
        Ok(Plan {
            sessions: self.subscribers,
            rooms: PlannedRooms::One { senders: self.senders },
            mix: Mix { sends_per_s: self.rate, ..Mix::default() },
            bytes: self.bytes,
            slow: None,
        })
    }
}

/// Runs it.
pub fn run(broadcast: &Broadcast) -> anyhow::Result<Table> {
    let gateway = broadcast.target.gateway()?;
    let plan = broadcast.crowd.plan()?;
    let outcome = lead::drive(&gateway, broadcast.target.transport, &broadcast.run, &plan)?;
    outcome.measured.must_be_clean()?;
    let figures = figures(&broadcast.crowd, &outcome);
    Ok(Table::new("broadcast", figures).with_moments(outcome.moments))
}

/// What it came to, for those who keep up.
pub(super) fn figures(crowd: &Crowd, outcome: &Outcome) -> Vec<Figure> {
    let seconds = outcome.moments.iter().filter(|moment| moment.is_measured).count().max(1) as f64;
    let delivered = outcome.deliveries_us.len() as f64 / seconds;
    let mut figures = vec![
        Figure::new("sends acknowledged", outcome.per_s, "sends/s").at_least(0.99 * crowd.rate),
        Figure::new("  99 % within", outcome.ack_ms(0.99), "ms from when it was due"),
        Figure::new("deliveries", delivered, "deliveries/s"),
        Figure::new("  half within", outcome.delivery_ms(0.5), "ms from when the send was due"),
        Figure::new("  99 % within", outcome.delivery_ms(0.99), "ms"),
        Figure::new("  99.9 % within", outcome.delivery_ms(0.999), "ms"),
        Figure::new("  the last within", outcome.deliveries_us.max() as f64 / 1000.0, "ms"),
        Figure::new(
            "events delivered and checked",
            outcome.measured.events as f64,
            "without a gap, a repeat or a wrong order",
        ),
    ];
    figures.extend(costs(outcome));
    figures
}
