//! A room while it is active: everything its home needs to decide without asking anyone.

use std::sync::Arc;

use carillon_protocol::{Event, EventBody, RoomId, UserId, event_header};
use carillon_storage::{MemberRow, SENT_ID_TTL_MS, SentRow, StoredEvent};

use super::ledger::{After, Ledger, Read};
use super::members::Members;
use super::recent::{Recent, RecentEvent};
use super::sent_ids::SentIds;
use crate::config::Config;
use crate::delivery::Audience;
use crate::log::record::text_hash;

/// Where a room stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Its last seq.
    pub seq: u64,
    /// Its last ordinal.
    pub ordinal: u64,
    /// When its last event happened, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Head {
    /// Where an event that happens now will stand. Time never runs backwards within a room.
    pub fn next(self, is_message: bool, now_ms: u64) -> Head {
        Head {
            seq: self.seq + 1,
            ordinal: self.ordinal + u64::from(is_message),
            at_ms: self.at_ms.max(now_ms),
        }
    }
}

/// A room at its home.
pub struct Room {
    /// Which.
    pub id: RoomId,
    /// What it is called.
    pub name: Box<str>,
    /// Where it stands with everything that was decided.
    pub head: Head,
    /// Where it stands with what is durable: all that anyone may be told.
    pub durable: Head,
    /// Who belongs to it.
    pub members: Members,
    /// Its last events.
    pub recent: Recent,
    /// What was sent lately, under which ids.
    pub sent: SentIds,
    /// Who wrote the last message, and how it begins, as far as it is durable.
    pub preview: Option<(UserId, Box<str>)>,
    /// Whether its events go to subscribers rather than to each member.
    pub large: bool,
    /// When somebody last asked something of it.
    pub touched_ms: u64,
    /// The last log position that holds something of it: until that is archived, it stays in memory.
    pub position: u64,
    /// The ordinal of one older event that the store was asked for.
    pub looked_up: Option<Head>,
}

/// How much of a message the room list shows, in bytes.
pub const PREVIEW_BYTES: usize = 120;

impl Room {
    /// A room that does not exist yet.
    pub fn new(id: RoomId, name: &str) -> Self {
        Self {
            id,
            name: name.into(),
            head: Head::default(),
            durable: Head::default(),
            members: Members::default(),
            recent: Recent::default(),
            sent: SentIds::complete(),
            preview: None,
            large: false,
            touched_ms: 0,
            position: 0,
            looked_up: None,
        }
    }

    /// The event that follows the last one.
    pub fn next_event<'a>(&self, sender: UserId, body: EventBody<'a>, now_ms: u64) -> Event<'a> {
        let head = self.head.next(matches!(body, EventBody::Message { .. }), now_ms);
        Event { room: self.id, seq: head.seq, ordinal: head.ordinal, at_ms: head.at_ms, sender, body }
    }
}

impl Room {
    /// Who gets its events.
    pub fn audience(&mut self) -> Audience {
        if self.large { Audience::Subscribers } else { Audience::Users(self.members.list()) }
    }

    /// The ordinal at a durable event, where memory knows it: for the last events, and one that was looked up.
    pub fn ordinal_at(&self, seq: u64) -> Option<u64> {
        if seq >= self.durable.seq {
            return Some(self.durable.ordinal);
        }
        if let Some(looked_up) = self.looked_up.filter(|head| head.seq == seq) {
            return Some(looked_up.ordinal);
        }
        let event = self.recent.after(seq.saturating_sub(1), seq)?.next()?;
        event_header(event.event()).ok().map(|header| header.ordinal)
    }

    /// Gives back what need not be kept, of what the store has.
    pub fn trim(&mut self, settings: &Config, archived: u64) {
        self.recent.trim(settings.room_events_kept, archived);
        self.sent.trim(settings.dedupe_ids_kept, self.recent.first_seq());
    }

    /// Owes what follows from members having joined with the event at `seq`: their sessions' subscriptions, and their lists
    /// of rooms.
    pub fn joined(&mut self, ledger: &mut Ledger, new: &Arc<[UserId]>, seq: u64, inbox_limit: usize) {
        let was_large = self.large;
        if !was_large && self.members.len() > inbox_limit {
            ledger.enlarge(self);
        }
        if self.large {
            let users = if was_large { Arc::clone(new) } else { self.members.list() };
            ledger.after(After::Subscribe(self.id, users));
        }
        let large_seq = self.large.then_some(seq);
        for &user in new.iter() {
            ledger.membership(self.id, user, true, large_seq);
        }
    }
}

impl Room {
    /// An event of it is durable.
    pub fn event_is_durable(&mut self, head: Head, preview: Option<&(UserId, Box<str>)>) {
        self.durable = head;
        let Some((sender, _)) = preview else { return };
        self.preview = preview.cloned();
        if let Some(row) = self.members.get_mut(*sender) {
            row.own_ordinal = head.ordinal;
        }
    }

    /// A member's marker moves, unless it stands further on. Says where it stands now; nothing where they have parted
    /// meanwhile, even if they joined again: that may not be durable yet.
    pub fn read_is_durable(&mut self, read: &Read) -> Option<MemberRow> {
        let row = self.members.get_mut(read.user).filter(|row| row.joined_seq <= read.seq)?;
        row.read_seq = row.read_seq.max(read.seq);
        row.read_ordinal = row.read_ordinal.max(read.ordinal);
        row.read_ms = row.read_ms.max(read.at_ms);
        Some(*row)
    }

    /// Takes back every event that is not durable. Members are put back by whoever changed them.
    pub fn back_to_durable(&mut self, position: u64) {
        self.head = self.durable;
        self.recent.truncate(self.durable.seq);
        self.sent.truncate(self.durable.seq);
        self.position = self.position.min(position);
    }
}

impl Room {
    /// Takes the last events from the store, and the client ids in them. Where they reach back to the room's first
    /// event, or to before any retry, no other id was used.
    pub fn remember(&mut self, events: Vec<StoredEvent>, now_ms: u64) {
        let oldest = events.first().and_then(|event| event_header(&event.bytes).ok());
        let reaches_back = self.head.seq == 0
            || oldest.is_some_and(|event| event.seq == 1 || event.at_ms + SENT_ID_TTL_MS < now_ms);
        self.sent = if reaches_back { SentIds::complete() } else { SentIds::partial() };
        for stored in events {
            if let Ok(event) = carillon_protocol::decode_event(&stored.bytes)
                && let EventBody::Message { client_id, text } = &event.body
            {
                let (seq, ordinal, at_ms) = (event.seq, event.ordinal, event.at_ms);
                let row = SentRow { seq, ordinal, at_ms, text_hash: text_hash(text) };
                self.sent.insert(event.sender, *client_id, row);
            }
            self.recent.push(stored.seq, RecentEvent::stored(&stored.bytes));
        }
    }
}

/// How a text begins: at most [`PREVIEW_BYTES`], whole characters.
pub fn preview(text: &str) -> &str {
    &text[..text.floor_char_boundary(PREVIEW_BYTES)]
}
