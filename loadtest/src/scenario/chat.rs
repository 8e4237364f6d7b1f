//! `chat`: what an app does. Many small rooms, whose members send, read, type, and lose their connection now and then.

use clap::Args;

use super::Target;
use crate::drive::Mix;
use crate::drive::lead::{self, Outcome, Plan, PlannedRooms, Run};
use crate::report::{Figure, Table};

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Chat {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) people: People,
    #[command(flatten)]
    pub(super) run: Run,
}

/// Who chats, and how lively.
#[derive(Args, Clone, Copy, Debug)]
pub struct People {
    /// Sessions, in all
    #[arg(long, default_value_t = 5_000)]
    sessions: u64,
    /// Rooms, in all
    #[arg(long, default_value_t = 2_500)]
    rooms: u64,
    /// Members of each room, all of them connected
    #[arg(long, default_value_t = 8)]
    members: u64,
    /// Messages that each session sends in a minute
    #[arg(long, default_value_t = 6.0)]
    sends_per_minute: f64,
    /// Times in a minute that each marks a room as read
    #[arg(long, default_value_t = 6.0)]
    reads_per_minute: f64,
    /// Times in a minute that each begins to type
    #[arg(long, default_value_t = 12.0)]
    typing_per_minute: f64,
    /// Times in an hour that each loses its connection and comes back
    #[arg(long, default_value_t = 12.0)]
    reconnects_per_hour: f64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    bytes: usize,
}

impl People {
    pub(super) fn plan(&self) -> Plan {
        let all_per_s = |per_minute: f64| self.sessions as f64 * per_minute / 60.0;
        Plan {
            sessions: self.sessions,
            rooms: PlannedRooms::Small { count: self.rooms, members: self.members },
            mix: Mix {
                sends_per_s: all_per_s(self.sends_per_minute),
                reads_per_s: all_per_s(self.reads_per_minute),
                typing_per_s: all_per_s(self.typing_per_minute),
                reconnects_per_s: all_per_s(self.reconnects_per_hour / 60.0),
            },
            bytes: self.bytes,
            slow: None,
        }
    }
}

/// Runs it.
pub fn run(chat: &Chat) -> anyhow::Result<Table> {
    let gateway = chat.target.gateway()?;
    let plan = chat.people.plan();
    let outcome = lead::drive(&gateway, chat.target.transport, &chat.run, &plan)?;
    outcome.measured.must_be_clean()?;
    let figures = figures(&plan, &outcome);
    Ok(Table::new("chat", figures).with_moments(outcome.moments))
}

/// What a chat came to.
pub(super) fn figures(plan: &Plan, outcome: &Outcome) -> Vec<Figure> {
    let measured = &outcome.measured;
    let mut figures = vec![
        Figure::new("sends acknowledged", outcome.per_s, "sends/s").at_least(0.99 * plan.mix.sends_per_s),
        Figure::new("  half within", outcome.ack_ms(0.5), "ms from when it was due"),
        Figure::new("  99 % within", outcome.ack_ms(0.99), "ms"),
        Figure::new("  99.9 % within", outcome.ack_ms(0.999), "ms"),
        Figure::new("deliveries, half within", outcome.delivery_ms(0.5), "ms from when the send was due"),
        Figure::new("  99 % within", outcome.delivery_ms(0.99), "ms"),
        Figure::new("  99.9 % within", outcome.delivery_ms(0.999), "ms"),
        Figure::new("read markers acknowledged", measured.reads as f64, ""),
        Figure::new("typing and read markers heard", measured.signals as f64, ""),
        Figure::new("sessions cut and back", measured.returned as f64, ""),
        Figure::new("events they caught up with", measured.fetched as f64, ""),
        Figure::new(
            "events delivered and checked",
            measured.events as f64,
            "without a gap, a repeat or a wrong order",
        ),
    ];
    figures.extend(costs(outcome));
    figures
}

/// What the gateway took, where it is ours.
pub(super) fn costs(outcome: &Outcome) -> Vec<Figure> {
    let seconds = outcome.moments.len().max(1) as f64;
    let cores = outcome.cpu.map(|cpu| {
        Figure::new("the gateway's processor time", cpu.as_secs_f64() / seconds, "cores, start to end")
    });
    let memory = outcome
        .resident_bytes_max()
        .map(|bytes| Figure::new("the gateway's memory, at most", bytes as f64 / 1e6, "MB resident"));
    cores.into_iter().chain(memory).collect()
}
