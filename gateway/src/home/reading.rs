//! How a home's wants are answered from the store.

use std::sync::Arc;

use carillon_protocol::{EventHeader, RoomId, UserId, event_header};
use carillon_storage::{RoomRow, Store, StoreResult};
use hashbrown::HashMap;

use super::users::overlay;
use super::{Found, Loaded, Lookup, Size, Standing, stored_entry};
use crate::command::history::Moment;
use crate::command::sync::{FromStore, PAGE_BYTES};
use crate::shard::message::{Membership, Reply, Request};

/// Members read at a time.
const MEMBERS_PAGE: usize = 4096;
/// Bytes of recent events read with a room, at most.
const RECENT_BYTES: usize = 1024 * 1024;

/// Reads a room: its row, all its members, its last `kept` events. A room leaves memory only when it is archived, so the
/// store has all of it.
pub async fn room(store: Arc<dyn Store>, id: RoomId, kept: usize) -> Result<Option<Loaded>, String> {
    read_room(&*store, id, kept).await.map_err(|error| error.to_string())
}

async fn read_room(store: &dyn Store, id: RoomId, kept: usize) -> StoreResult<Option<Loaded>> {
    let Some(row) = store.room(id).await? else { return Ok(None) };
    let mut members = Vec::new();
    loop {
        let after = members.last().map_or(0, |row: &carillon_storage::MemberRow| row.user.get());
        let page = store.members(id, after, MEMBERS_PAGE).await?;
        let is_last = page.len() < MEMBERS_PAGE;
        members.extend(page);
        if is_last {
            break;
        }
    }
    let events = last_events(store, id, row.head_seq, kept).await?;
    Ok(Some(Loaded { row, members, events }))
}

/// The last `kept` events, or fewer where they are large: always up to the head, without a hole. What is in the store
/// beyond the head came meanwhile, of a home that has taken over.
async fn last_events(
    store: &dyn Store,
    id: RoomId,
    head_seq: u64,
    kept: usize,
) -> StoreResult<Vec<carillon_storage::StoredEvent>> {
    let mut from_seq = (head_seq + 1).saturating_sub(kept as u64).max(1);
    let mut events = Vec::new();
    while from_seq <= head_seq {
        let page = store.events(id, from_seq, kept, RECENT_BYTES).await?;
        let Some(last) = page.last() else { break };
        from_seq = last.seq + 1;
        events.extend(page.into_iter().filter(|event| event.seq <= head_seq));
    }
    Ok(events)
}

/// Looks up what several requests need, the client ids in one go.
pub async fn look_up(
    store: Arc<dyn Store>,
    lookups: Vec<(Request<'static>, Lookup)>,
) -> Vec<(Request<'static>, Result<Found, String>)> {
    let ids = lookups.iter().filter_map(|(_, lookup)| match *lookup {
        Lookup::Sent(room, sender, id) => Some((room, sender, id)),
        Lookup::Ordinal(..) => None,
    });
    let sent = store.sent(ids.collect()).await.map_err(|error| error.to_string());
    let mut sent = sent.map(Vec::into_iter);
    let mut answers = Vec::with_capacity(lookups.len());
    for (request, lookup) in lookups {
        let found = match lookup {
            Lookup::Sent(..) => match &mut sent {
                Ok(rows) => Ok(Found::Sent(rows.next().flatten())),
                Err(error) => Err(error.clone()),
            },
            Lookup::Ordinal(room, seq) => ordinal(&*store, room, seq).await.map(Found::Ordinal),
        };
        answers.push((request, found));
    }
    answers
}

async fn ordinal(store: &dyn Store, room: RoomId, seq: u64) -> Result<Option<u64>, String> {
    Ok(header(store, room, seq).await?.map(|header| header.ordinal))
}

async fn header(store: &dyn Store, room: RoomId, seq: u64) -> Result<Option<EventHeader>, String> {
    let events = store.events(room, seq, 1, 1).await.map_err(|error| error.to_string())?;
    let event = events.first().filter(|event| event.seq == seq);
    Ok(event.and_then(|event| event_header(&event.bytes).ok()))
}

/// The seq of the first event at or after a moment, of those that the store is asked about; the one behind them where all are
/// earlier. It halves, which a room's order allows: its time never goes back. A read for each power of two.
pub async fn place(store: Arc<dyn Store>, moment: Moment) -> Result<u64, String> {
    let Moment { room, at_ms, .. } = moment;
    let (mut first, mut end) = (moment.from_seq, moment.before_seq);
    while first < end {
        let middle = first + (end - first) / 2;
        let header = header(&*store, room, middle).await?;
        let header = header.ok_or_else(|| format!("event {middle} of room {room} is missing"))?;
        if header.at_ms < at_ms {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    Ok(first)
}

/// The answer to a `sync` that memory could not give.
pub async fn page(store: Arc<dyn Store>, page: FromStore) -> Result<Reply, String> {
    let stored = store.events(page.room, page.after_seq + 1, page.limit, PAGE_BYTES).await;
    let mut stored = stored.map_err(|error| error.to_string())?;
    stored.retain(|event| event.seq <= page.up_to_seq);
    if stored.first().is_none_or(|event| event.seq != page.after_seq + 1) {
        return Err(format!("event {} of room {} is missing", page.after_seq + 1, page.room));
    }
    let mut out = Vec::with_capacity(stored.iter().map(|event| event.bytes.len() + 8).sum());
    let events = stored.iter().map(|event| event.bytes.as_slice());
    carillon_protocol::encode_events_frame(page.request, page.room, page.head_seq, events, &mut out);
    Ok(Reply::Bytes(out))
}

/// How large rooms of a user are that are not in memory, and where they stand; nothing of rooms they are not in.
pub async fn sizes(
    store: Arc<dyn Store>,
    user: UserId,
    rooms: Vec<RoomId>,
    inbox_limit: u64,
) -> Result<HashMap<RoomId, Size>, String> {
    let rows = store.room_heads(user, rooms.clone()).await.map_err(|error| error.to_string())?;
    let size = |row: RoomRow| Size { is_large: row.member_count > inbox_limit, head_seq: row.head_seq };
    let rooms = rooms.into_iter().zip(rows);
    Ok(rooms.filter_map(|(room, rows)| Some((room, size(rows?.0)))).collect())
}

/// How rooms stand for a user: as the home knows (`Some`), or else as the store does.
pub async fn heads(
    store: Arc<dyn Store>,
    user: UserId,
    known: Vec<(RoomId, Option<Option<Standing>>)>,
) -> Result<Vec<Option<Standing>>, String> {
    let unknown: Vec<RoomId> = known.iter().filter(|(_, head)| head.is_none()).map(|(id, _)| *id).collect();
    let rows = store.room_heads(user, unknown).await.map_err(|error| error.to_string())?;
    let mut rows = rows.into_iter();
    let mut stored = |id| rows.next().flatten().map(|(room, row)| stored_entry(id, room, &row));
    Ok(known.into_iter().map(|(id, head)| head.unwrap_or_else(|| stored(id))).collect())
}

/// A user's rooms after `after`, in order of id, at most `limit`: what the store has, with what it does not know yet.
pub async fn user_rooms(
    store: &dyn Store,
    user: UserId,
    changes: &[Membership],
    after: Option<RoomId>,
    limit: usize,
) -> Result<Vec<RoomId>, String> {
    let stored = store.user_rooms(user, after, limit).await.map_err(|error| error.to_string())?;
    let is_last = stored.len() < limit;
    Ok(overlay(stored, changes, after, limit, is_last))
}

/// Those of these users (with what the store does not know of their rooms yet) who have `max` rooms.
pub async fn full(
    store: &dyn Store,
    users: Vec<(UserId, Vec<Membership>)>,
    max: usize,
) -> Result<Vec<UserId>, String> {
    let mut full = Vec::new();
    for (user, changes) in users {
        if user_rooms(store, user, &changes, None, max).await?.len() >= max {
            full.push(user);
        }
    }
    Ok(full)
}
