//! Acting: what is due is done, in an open loop, until the time is over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;
use std::time::Duration;

use anyhow::bail;
use carillon_protocol::{ClientId, Frame};
use hdrhistogram::Histogram;

use super::hear::{Ask, Ears, What};
use super::{Driving, Heads, LATENCY_MAX_US, Measured};
use crate::check::Faults;
use crate::clock::now_us;
use crate::fleet::Fleet;
use crate::pace::Pace;
use crate::report::Recorded;
use crate::timeline::Second;

/// How long after the last send everything may take to arrive.
const PATIENCE_US: u64 = 60_000_000;
/// Slow readers read so often.
const SIP_US: u64 = 100_000;
/// A client whose connection is cut is away for a time between these two.
const AWAY_US: Range<u64> = 500_000..3_000_000;
/// Between looks at what is due: sends that are due together are written together.
const LOOK: Duration = Duration::from_millis(1);

impl Driving {
    /// Acts from `start_us` on until the time is over and every request was answered; says every second how it went.
    /// What it returns are the last seqs of rooms, for all workers to wait for.
    pub fn drive(
        &mut self,
        fleet: &mut Fleet,
        start_us: u64,
        each_second: impl FnMut(Second) -> anyhow::Result<()>,
    ) -> anyhow::Result<Heads> {
        let timing = self.load.timing;
        let second_us = |seconds: u64| start_us + seconds * 1_000_000;
        self.timed.due_us = second_us(timing.measured_from_s())..second_us(timing.total_s());
        let mut acting = Acting::new(self, start_us)?;
        acting.run(fleet, each_second)?;
        acting.answers(fleet)?;
        Ok(acting.ears.heads)
    }

    /// Between orders: what comes is heard.
    pub fn listen(&mut self, fleet: &mut Fleet, patience: Duration) -> anyhow::Result<()> {
        Acting::new(self, now_us())?.turn(fleet, patience)
    }

    /// Everyone reads again. Waits until every client has what was acknowledged anywhere; what it has not by then is missing.
    pub fn settle(&mut self, fleet: &mut Fleet, heads: &Heads) -> anyhow::Result<Measured> {
        let mut acting = Acting { is_settling: true, ..Acting::new(self, now_us())? };
        for number in 0..fleet.links.len() {
            fleet.release(number, |number, link, frame| acting.ears.heard(number, link, frame));
        }
        let deadline_us = now_us() + PATIENCE_US;
        loop {
            acting.turn(fleet, Duration::from_millis(20))?;
            let mut faults = Faults::default();
            acting.ears.streams.iter().for_each(|stream| stream.end(heads, &mut faults));
            let is_caught_up = acting.ears.streams.iter().all(|stream| stream.is_caught_up());
            if (faults.is_none() && is_caught_up && acting.away.is_empty()) || now_us() > deadline_us {
                acting.ears.measured.faults = acting.ears.measured.faults.and(faults);
                break;
            }
        }
        let (acks_us, deliveries_us) = (Recorded::of(&self.timed.acks), Recorded::of(&self.timed.deliveries));
        Ok(Measured { acks_us, deliveries_us, ..std::mem::take(&mut self.measured) })
    }
}

/// A worker while it acts.
struct Acting<'a> {
    ears: Ears<'a>,
    paces: Paces,
    /// Clients whose connection is gone, and the ones that are on their way back.
    away: HashMap<usize, Why>,
    /// Those that were cut, by when they come back.
    returning: BinaryHeap<Reverse<(u64, usize)>>,
    start_us: u64,
    end_us: u64,
    next_sip_us: u64,
    /// Whether the time is over and slow readers read as everyone does.
    is_settling: bool,
    text: String,
}

/// Why a client is away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its turn had come.
    Cut,
    /// Its connection ended by itself.
    Lost,
}

/// When each kind of work is due.
struct Paces {
    sends: Pace,
    reads: Pace,
    typing: Pace,
    reconnects: Pace,
}

impl Paces {
    fn next_us(&self) -> u64 {
        let paces = [&self.sends, &self.reads, &self.typing, &self.reconnects];
        paces.into_iter().map(Pace::next_us).min().unwrap_or(u64::MAX)
    }
}

impl<'a> Acting<'a> {
    fn new(driving: &'a mut Driving, start_us: u64) -> anyhow::Result<Self> {
        let (mix, timing) = (driving.load.mix, driving.load.timing);
        let pace = |per_second| Pace::new(per_second, timing.ramp_s, start_us);
        let paces = Paces {
            sends: pace(mix.sends_per_s),
            reads: pace(mix.reads_per_s),
            typing: pace(mix.typing_per_s),
            reconnects: pace(mix.reconnects_per_s),
        };
        let end_us = start_us + timing.total_s() * 1_000_000;
        let text = "x".repeat(driving.load.bytes);
        let ears = Ears {
            place: &driving.place,
            load: &driving.load,
            rooms: &driving.rooms,
            rooms_of: &driving.rooms_of,
            streams: &mut driving.streams,
            measured: &mut driving.measured,
            timed: &mut driving.timed,
            under_way: HashMap::new(),
            heads: Heads::new(),
            second: Second::default(),
            second_acks: Histogram::new_with_max(LATENCY_MAX_US, 2)?,
            second_deliveries: Histogram::new_with_max(LATENCY_MAX_US, 2)?,
            welcome: Vec::new(),
        };
        Ok(Self {
            ears,
            paces,
            away: HashMap::new(),
            returning: BinaryHeap::new(),
            start_us,
            end_us,
            next_sip_us: start_us,
            is_settling: false,
            text,
        })
    }

    fn run(
        &mut self,
        fleet: &mut Fleet,
        mut each_second: impl FnMut(Second) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut second_ends_us = self.start_us + 1_000_000;
        while second_ends_us <= self.end_us {
            let now_us = now_us();
            if now_us >= second_ends_us {
                each_second(self.ears.take_second())?;
                second_ends_us += 1_000_000;
                continue;
            }
            self.act(fleet, now_us)?;
            fleet.flush_marked();
            let idle_us = self.paces.next_us().min(second_ends_us).saturating_sub(now_us).min(SIP_US);
            self.turn(fleet, Duration::from_micros(idle_us).max(LOOK))?;
        }
        Ok(())
    }

    /// Until every request was answered, as long as that may take; what was not by then is missing.
    fn answers(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        while !(self.ears.under_way.is_empty() && self.away.is_empty())
            && now_us() < self.end_us + PATIENCE_US
        {
            self.turn(fleet, Duration::from_millis(20))?;
        }
        self.ears.measured.faults.missing += self.ears.under_way.len() as u64;
        Ok(())
    }

    /// Waits a little for something to come, and lets those come back who are gone.
    fn turn(&mut self, fleet: &mut Fleet, patience: Duration) -> anyhow::Result<()> {
        let ears = &mut self.ears;
        fleet.turn(patience, |number, link, frame| ears.heard(number, link, frame))?;
        self.sip(fleet);
        for number in std::mem::take(&mut fleet.lost) {
            self.lost(fleet, number)?;
        }
        while let Some(&Reverse((due_us, number))) = self.returning.peek()
            && due_us <= now_us()
        {
            self.returning.pop();
            self.connect(fleet, number)?;
        }
        for number in std::mem::take(&mut self.ears.welcome) {
            self.is_back(fleet, number);
        }
        Ok(())
    }

    /// Slow readers read what they read.
    fn sip(&mut self, fleet: &mut Fleet) {
        let Some(slow) = self.ears.load.slow.filter(|slow| slow.bytes_per_s > 0) else { return };
        let now_us = now_us();
        if now_us < self.next_sip_us {
            return;
        }
        self.next_sip_us = now_us + SIP_US;
        let sip_bytes = (slow.bytes_per_s * SIP_US).div_ceil(1_000_000) as usize;
        for number in self.ears.load.slow_clients() {
            fleet.read_held(number, sip_bytes, |number, link, frame| self.ears.heard(number, link, frame));
        }
    }

    fn act(&mut self, fleet: &mut Fleet, now_us: u64) -> anyhow::Result<()> {
        while let Some(due_us) = self.paces.sends.due(now_us) {
            self.send(fleet, due_us);
        }
        while let Some(due_us) = self.paces.reads.due(now_us) {
            self.mark_read(fleet, due_us);
        }
        while self.paces.typing.due(now_us).is_some() {
            self.type_something(fleet);
        }
        while self.paces.reconnects.due(now_us).is_some() {
            let number = scattered(self.paces.reconnects.begun(), fleet.links.len());
            if !self.away.contains_key(&number) {
                fleet.links[number].cut();
                self.gone(number, Why::Cut);
                let away_us = AWAY_US.start + (now_us % (AWAY_US.end - AWAY_US.start));
                self.returning.push(Reverse((now_us + away_us, number)));
            }
        }
        Ok(())
    }

    fn send(&mut self, fleet: &mut Fleet, due_us: u64) {
        let number = self.paces.sends.begun();
        let index = number as usize % self.ears.rooms.len();
        let senders = &self.ears.rooms[index].senders;
        let turn = number as usize / self.ears.rooms.len();
        // Who is away sends nothing, and somebody else does; where all are away it waits until the first is back.
        let present =
            (turn..turn + senders.len()).find(|&it| !self.away.contains_key(&senders[it % senders.len()]));
        let sender = senders[present.unwrap_or(turn) % senders.len()];
        let what = What::Send { client_id: client_id(self.ears.load.run, number, due_us) };
        self.ears.second.begun += 1;
        self.ask(fleet, Ask { due_us, sender, room: index, what });
    }

    fn mark_read(&mut self, fleet: &mut Fleet, due_us: u64) {
        let Some((reader, index)) = self.place(self.paces.reads.begun()) else { return };
        if self.away.contains_key(&reader) {
            return;
        }
        let seq = self.ears.streams[reader].last(self.ears.rooms[index].id);
        self.ask(fleet, Ask { due_us, sender: reader, room: index, what: What::Read { seq } });
    }

    /// Asks, now or when the client is back.
    fn ask(&mut self, fleet: &mut Fleet, ask: Ask) {
        // Neither is SYNC_REQUEST.
        let request = match ask.what {
            What::Send { .. } => self.paces.sends.begun() << 1,
            What::Read { .. } => self.paces.reads.begun() << 1 | 1,
        };
        if !self.away.contains_key(&ask.sender) {
            fleet.links[ask.sender].say(&ask.frame(request, self.ears.rooms, &self.text));
            fleet.mark(ask.sender);
        }
        self.ears.under_way.insert(request, ask);
    }

    fn type_something(&mut self, fleet: &mut Fleet) {
        let Some((writer, index)) = self.place(self.paces.typing.begun()) else { return };
        if !self.away.contains_key(&writer) {
            let room = self.ears.rooms[index].id;
            fleet.links[writer].say(&Frame::Typing { room, active: true, user: None });
            fleet.mark(writer);
        }
    }

    /// Some client in some room of theirs.
    fn place(&self, number: u64) -> Option<(usize, usize)> {
        let client = scattered(number, self.ears.rooms_of.len());
        let rooms = &self.ears.rooms_of[client];
        let room = *rooms.get(number as usize % rooms.len().max(1))?;
        Some((client, room))
    }

    /// A client's connection is gone.
    fn gone(&mut self, number: usize, why: Why) {
        self.ears.streams[number].ends();
        self.away.entry(number).or_insert(why);
    }

    /// A connection ended that nobody cut: a slow reader's is opened again.
    fn lost(&mut self, fleet: &mut Fleet, number: usize) -> anyhow::Result<()> {
        self.ears.measured.lost += 1;
        if !self.ears.load.is_slow(number) {
            bail!("the connection of client {number} ended by itself: {}", fleet.links[number].why_closed());
        }
        self.gone(number, Why::Lost);
        self.connect(fleet, number)
    }

    fn connect(&self, fleet: &mut Fleet, number: usize) -> anyhow::Result<()> {
        fleet.connect_at(self.ears.place, number, self.ears.load.user_of(number))
    }

    /// A client is back: it asks once more for what was not answered.
    fn is_back(&mut self, fleet: &mut Fleet, number: usize) {
        if self.away.remove(&number) == Some(Why::Cut) {
            self.ears.measured.returned += 1;
            self.ears.second.returned += 1;
        }
        for (&request, ask) in &self.ears.under_way {
            if ask.sender == number {
                fleet.links[number].say(&ask.frame(request, self.ears.rooms, &self.text));
            }
        }
        fleet.mark(number);
        fleet.flush_marked();
        if self.ears.load.is_slow(number) && !self.is_settling {
            fleet.links[number].hold();
        }
    }
}

/// Numbers in an order that looks like none, each of `count` as often as another.
fn scattered(number: u64, count: usize) -> usize {
    // 2^64 divided by the golden ratio: neighbours land far apart (Knuth, TAOCP 6.4).
    ((u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * count as u128) >> 64) as usize
}

/// A message's id: unlike any other of its sender, and its second half says when it was due, to whoever gets it.
fn client_id(run: uuid::Uuid, number: u64, due_us: u64) -> ClientId {
    let mut bytes = [0; 16];
    let first = run.as_u128() as u64 ^ number;
    bytes[..8].copy_from_slice(&first.to_be_bytes());
    bytes[8..].copy_from_slice(&due_us.to_be_bytes());
    ClientId::from_bytes(bytes)
}
