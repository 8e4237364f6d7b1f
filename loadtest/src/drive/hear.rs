//! Hearing: what comes is checked and timed.

use std::collections::HashMap;

use carillon_protocol::{ClientId, EventBody, Frame, RoomId};
use hdrhistogram::Histogram;

use super::{Heads, Load, Measured, Room, Timed};
use crate::check::Stream;
use crate::clock::now_us;
use crate::fleet::Place;
use crate::link::Link;
use crate::report::Recorded;
use crate::timeline::Second;

/// Every sync has this number: which room an answer is about stands in it.
const SYNC_REQUEST: u64 = 1;

/// A request that is under way.
pub(super) struct Ask {
    pub(super) due_us: u64,
    pub(super) sender: usize,
    pub(super) room: usize,
    pub(super) what: What,
}

/// What is asked for.
pub(super) enum What {
    Send { client_id: ClientId },
    Read { seq: u64 },
}

impl Ask {
    pub(super) fn frame<'a>(&self, request: u64, rooms: &[Room], text: &'a str) -> Frame<'a> {
        let room = rooms[self.room].id;
        match self.what {
            What::Send { client_id } => Frame::Send { request, room, client_id, text: text.into() },
            What::Read { seq } => Frame::MarkRead { request, room, seq },
        }
    }
}

/// What a worker knows and hears while it drives.
pub(super) struct Ears<'a> {
    pub(super) place: &'a Place,
    pub(super) load: &'a Load,
    pub(super) rooms: &'a [Room],
    pub(super) rooms_of: &'a [Vec<usize>],
    pub(super) streams: &'a mut [Stream],
    pub(super) measured: &'a mut Measured,
    pub(super) timed: &'a mut Timed,
    pub(super) under_way: HashMap<u64, Ask>,
    pub(super) heads: Heads,
    pub(super) second: Second,
    pub(super) second_acks: Histogram<u64>,
    pub(super) second_deliveries: Histogram<u64>,
    /// Clients that are welcome again.
    pub(super) welcome: Vec<usize>,
}

impl Ears<'_> {
    pub(super) fn heard(&mut self, number: usize, link: &mut Link, frame: Frame<'_>) {
        match frame {
            Frame::Event(event) => {
                self.measured.events += 1;
                self.second.deliveries += 1;
                self.streams[number].event(event.room, event.seq, &mut self.measured.faults);
                if let EventBody::Message { client_id, .. } = event.body {
                    self.delivered(number, client_id);
                }
            }
            Frame::Ack { request, seq, .. } => self.acknowledged(request, seq),
            Frame::Events { room, head_seq, events, .. } => {
                self.measured.fetched += events.len() as u64;
                let seqs = events.iter().map(|event| event.seq);
                if self.streams[number].fetched(room, seqs, head_seq, &mut self.measured.faults) {
                    self.sync(number, link, room);
                }
            }
            Frame::Snapshot { room, from_seq, .. } => {
                self.streams[number].starts_anew(room, from_seq);
                self.sync(number, link, room);
            }
            Frame::Lagged { room, .. } => {
                self.measured.lagged += 1;
                match self.load.is_slow(number) {
                    true => self.sync(number, link, room),
                    false => self.refused(format!("client {number} is told that it lags")),
                }
            }
            Frame::Typing { .. } | Frame::Read { .. } => {
                self.measured.signals += 1;
                self.second.signals += 1;
            }
            // At once: what comes behind it may leave a gap already.
            Frame::Welcome { .. } => {
                let rooms = self.rooms_of[number].iter().map(|&index| self.rooms[index].id);
                rooms.for_each(|room| self.sync(number, link, room));
                self.welcome.push(number);
            }
            Frame::Error { message, .. } => self.refused(message.into_owned()),
            _ => {}
        }
    }

    /// A client asks for what it may have missed of a room.
    pub(super) fn sync(&mut self, number: usize, link: &mut Link, room: RoomId) {
        let after_seq = self.streams[number].asks(room);
        link.say(&Frame::Sync { request: SYNC_REQUEST, room, after_seq, limit: 0 });
    }

    /// How a slow reader fares is no news: the others are what is timed.
    fn delivered(&mut self, number: usize, client_id: ClientId) {
        if self.load.is_slow(number) {
            return;
        }
        let [.., a, b, c, d, e, f, g, h] = *client_id.as_bytes();
        let due_us = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let latency_us = now_us().saturating_sub(due_us);
        self.second_deliveries.saturating_record(latency_us);
        if self.timed.due_us.contains(&due_us) {
            self.timed.deliveries.saturating_record(latency_us);
        }
    }

    fn acknowledged(&mut self, request: u64, seq: u64) {
        let Some(ask) = self.under_way.remove(&request) else { return };
        if let What::Read { .. } = ask.what {
            self.measured.reads += 1;
            return;
        }
        let head = self.heads.entry(self.rooms[ask.room].id).or_default();
        *head = seq.max(*head);
        self.second.acknowledged += 1;
        let latency_us = now_us().saturating_sub(ask.due_us);
        self.second_acks.saturating_record(latency_us);
        if self.timed.due_us.contains(&ask.due_us) {
            self.measured.acknowledged += 1;
            self.timed.acks.saturating_record(latency_us);
        }
    }

    fn refused(&mut self, message: String) {
        self.measured.faults.refused += 1;
        self.measured.refusal.get_or_insert(message);
    }

    /// What happened since it was asked last.
    pub(super) fn take_second(&mut self) -> Second {
        let mut second = std::mem::take(&mut self.second);
        second.acks_us = Recorded::of(&self.second_acks);
        second.deliveries_us = Recorded::of(&self.second_deliveries);
        self.second_acks.reset();
        self.second_deliveries.reset();
        second
    }
}
