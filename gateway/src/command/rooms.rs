//! `rooms`: a user's rooms, most recently active first, with what is unread in each.
//!
//! Their home says which they are, the rooms' homes say how they stand; nothing is kept per user for it.

use carillon_protocol::frame::{RoomEntry, RoomPage};
use carillon_protocol::{ErrorCode, Frame, RoomId, UserId};
use futures_util::future::join_all;
use hashbrown::HashMap;

use super::{Refusal, page_len};
use crate::home::Standing;
use crate::route::{Place, Route};
use crate::shard::ask::{Asker, TRIES, TRY_AGAIN_AFTER};
use crate::shard::message::{Answer, Question};

/// How many rooms an answer holds, unless fewer are asked for.
const PAGE_MAX: usize = 100;
/// How many bytes an answer has, about.
pub const ANSWER_BYTES: usize = 32 * 1024;
/// How many of a user's rooms are asked for at a time.
const IDS_PAGE: usize = 1_000;
/// A cursor reaches back this much further than the time it was given at, so that what was decided then but not
/// durable, or decided by a slower clock, is not missed. A client that sees a room again loses nothing.
const CURSOR_OVERLAP_MS: u64 = 60_000;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    /// The request's number.
    pub request: u64,
    /// Whose rooms.
    pub user: UserId,
    /// Only rooms that changed since.
    pub changed_since: u64,
    /// At most so many.
    pub limit: u64,
    /// Where the page before ended.
    pub page: Option<RoomPage>,
}

/// The answer: a `room_list`, or an error to come back after.
pub async fn list(asker: Asker, route: &Route, asked: Rooms, now_ms: u64) -> Frame<'static> {
    match entries(&asker, route, asked.user).await {
        Ok(entries) => page(entries, asked, now_ms),
        Err(error) => {
            tracing::warn!(user = %asked.user, %error, "a room list could not be made");
            Refusal::later(ErrorCode::UNAVAILABLE).frame(asked.request)
        }
    }
}

/// All rooms of a user, in order of id.
pub async fn all_of(asker: &Asker, route: &Route, user: UserId) -> Result<Vec<RoomId>, String> {
    let mut all: Vec<RoomId> = Vec::new();
    loop {
        let question = Question::UserRooms { user, after: all.last().copied(), limit: IDS_PAGE };
        match asker.ask_home(|| route.home_of_user(user), question).await {
            Answer::Rooms(page) if page.is_empty() => return Ok(all),
            Answer::Rooms(page) => all.extend(page),
            other => return Err(other.failure()),
        }
    }
}

/// One of these users who has as many rooms as a user may have, and is not in this one. Rooms joined at the same moment
/// may go one over.
pub async fn one_without_space(
    asker: &Asker,
    route: &Route,
    room: RoomId,
    users: &[UserId],
    max: usize,
) -> Result<Option<UserId>, String> {
    for user in full(asker, route, users, max).await? {
        // Who is in it already needs no space: the request is a retry, or passes over them.
        let question = Question::Heads { user, rooms: vec![room] };
        match asker.ask_home(|| route.home_of_room(room), question).await {
            Answer::Heads(heads) if heads.iter().any(Option::is_some) => {}
            Answer::Heads(_) => return Ok(Some(user)),
            other => return Err(other.failure()),
        }
    }
    Ok(None)
}

/// Those of these users who have as many rooms as a user may have.
async fn full(asker: &Asker, route: &Route, users: &[UserId], max: usize) -> Result<Vec<UserId>, String> {
    let home_of = |user| route.home_of_user(user);
    let mut full = Vec::new();
    for answer in ask_all(asker, users.to_vec(), home_of, |users| Question::Full { users, max }).await {
        match answer {
            Answer::Full(users) => full.extend(users),
            other => return Err(other.failure()),
        }
    }
    Ok(full)
}

/// Asks each home about those that it decides about, once; those that moved meanwhile again, where they are then.
pub async fn ask_all<T: Copy>(
    asker: &Asker,
    mut all: Vec<T>,
    home_of: impl Fn(T) -> Place,
    question: impl Fn(Vec<T>) -> Question,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..TRIES {
        let by_home = grouped(all.drain(..), &home_of);
        let asked = by_home.into_iter().map(|(home, some)| {
            let answer = asker.ask(home, question(some.clone()));
            async move { (some, answer.await) }
        });
        for (some, answer) in join_all(asked).await {
            match answer {
                Answer::Moved => all.extend(some),
                answer => answers.push(answer),
            }
        }
        if all.is_empty() {
            return answers;
        }
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }
    answers.push(Answer::Moved);
    answers
}

/// Those of each home together, so that each is asked once.
fn grouped<T: Copy>(
    all: impl IntoIterator<Item = T>,
    home_of: impl Fn(T) -> Place,
) -> HashMap<Place, Vec<T>> {
    let mut by_home: HashMap<Place, Vec<T>> = HashMap::new();
    for one in all {
        by_home.entry(home_of(one)).or_default().push(one);
    }
    by_home
}

/// How all rooms of a user stand.
async fn entries(asker: &Asker, route: &Route, user: UserId) -> Result<Vec<Standing>, String> {
    let all = all_of(asker, route, user).await?;
    let home_of = |room| route.home_of_room(room);
    let mut entries = Vec::new();
    for answer in ask_all(asker, all, home_of, |rooms| Question::Heads { user, rooms }).await {
        match answer {
            Answer::Heads(heads) => entries.extend(heads.into_iter().flatten()),
            other => return Err(other.failure()),
        }
    }
    Ok(entries)
}

/// The page asked for, of all entries.
fn page(standings: Vec<Standing>, asked: Rooms, now_ms: u64) -> Frame<'static> {
    let limit = page_len(asked.limit, PAGE_MAX);
    let place = |entry: &RoomEntry<'_>| (std::cmp::Reverse(entry.active_ms), entry.room);
    let changed = standings.into_iter().filter(|standing| standing.changed_ms >= asked.changed_since);
    let mut entries: Vec<_> = changed.map(|standing| standing.entry).collect();
    entries.sort_unstable_by_key(place);
    if let Some(after) = asked.page {
        let after = (std::cmp::Reverse(after.active_ms), after.room);
        entries.retain(|entry| place(entry) > after);
    }
    let next = (entries.len() > limit)
        .then(|| RoomPage { active_ms: entries[limit - 1].active_ms, room: entries[limit - 1].room });
    entries.truncate(limit);
    let cursor = now_ms.saturating_sub(CURSOR_OVERLAP_MS);
    Frame::RoomList { request: asked.request, cursor, rooms: entries, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, active_ms: u64) -> Standing {
        let entry = RoomEntry {
            room: RoomId::from_bytes([number; 16]),
            name: "".into(),
            active_ms,
            head_seq: 1,
            head_ordinal: 0,
            read_seq: 0,
            unread: 0,
            member_count: 1,
            preview_sender: None,
            preview: "".into(),
        };
        Standing { entry, changed_ms: active_ms }
    }

    fn ask(changed_since: u64, limit: u64, page: Option<RoomPage>) -> Rooms {
        Rooms { request: 1, user: UserId::new(1).unwrap(), changed_since, limit, page }
    }

    #[test]
    fn pages_follow_each_other_without_a_gap_or_a_repeat_even_among_equals() {
        let all = || (1..=9).map(|number| entry(number, u64::from(number) / 3)).collect::<Vec<_>>();
        let mut seen = Vec::new();
        let mut at = None;
        loop {
            let Frame::RoomList { rooms, next, .. } = page(all(), ask(0, 2, at), 0) else { panic!() };
            assert!(rooms.len() <= 2);
            seen.extend(rooms.iter().map(|entry| (entry.active_ms, entry.room)));
            at = next;
            if at.is_none() {
                break;
            }
        }
        let mut expected: Vec<_> = all().iter().map(|it| (it.entry.active_ms, it.entry.room)).collect();
        expected.sort_by_key(|&(active_ms, room)| (std::cmp::Reverse(active_ms), room));
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_cursor_leaves_out_what_did_not_change_since_and_never_what_did() {
        let now_ms = 1_000_000;
        let Frame::RoomList { cursor, .. } = page(vec![], ask(0, 0, None), now_ms) else { panic!() };
        assert!(cursor < now_ms);
        let entries = vec![entry(1, cursor - 1), entry(2, cursor), entry(3, now_ms + 5)];
        let Frame::RoomList { rooms, .. } = page(entries, ask(cursor, 0, None), now_ms + 10) else {
            panic!()
        };
        let rooms: Vec<_> = rooms.iter().map(|entry| entry.room.as_bytes()[0]).collect();
        assert_eq!(rooms, [3, 2]);
    }
}
