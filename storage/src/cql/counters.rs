//! Counters of unread messages, for badge totals and for readers outside the gateway.
//!
//! They are derived: the exact number is always `MemberRow::unread` of a room's head, and a counter is brought to it by adding the
//! difference. So it does not matter how a counter went wrong: what is read is compared with what is exact, and the
//! difference is added. An update is sent once and never again by itself. One that fails may have happened, or may yet happen for as long as
//! servers work on it: the counter is left alone for [`SETTLE`] and then compared again.
//!
//! One writer for a room at a time: its home's archiver, or `carillon counters verify` while there is none or it is quiet.

use std::time::{Duration, Instant};

use carillon_protocol::{RoomId, UserId};
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::Counter;
use uuid::Uuid;

use super::row::{failed, int, number, uuid};
use super::status::{Ended, Kind};
use super::{CqlConfig, CqlStore, Inner};
use crate::{MemberRow, Partition, Positions, RoomRow, StoreError, StoreResult};

/// Longer than servers work on an update of a counter (`counter_write_request_timeout`, 5 s): after it a failed one has happened or never will.
const SETTLE: Duration = Duration::from_secs(8);
/// What is exact must have been read so short a time ago for a counter to be brought to it: a process that slept meanwhile may no longer be
/// the one that writes the room's counters.
const FRESH: Duration = Duration::from_secs(10);
/// Counters that are compared at once. An update of one costs a server as much as 45 rows.
const AT_ONCE: usize = 32;
/// Rooms that are counted at once, each with so many counters.
const ROOMS_AT_ONCE: usize = 4;
/// How often a counter is tried whose updates fail.
const TRIES: usize = 5;
/// Members, rooms and counters that are read at a time.
const PAGE: usize = 1_000;

/// What comparing counters came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CountersReport {
    /// Counters that were looked at.
    pub compared: u64,
    /// Of those, that were not what heads and markers say.
    pub wrong: u64,
    /// Of those, that are now.
    pub mended: u64,
    /// Updates that failed and may have happened, or may yet.
    pub ambiguous: u64,
}

impl CountersReport {
    fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.wrong += other.wrong;
        self.mended += other.mended;
        self.ambiguous += other.ambiguous;
    }
}

pub(super) struct CounterStatements {
    add: PreparedStatement,
    get: PreparedStatement,
    all_counters: PreparedStatement,
    all_rooms: PreparedStatement,
    of_user: PreparedStatement,
}

impl CounterStatements {
    pub(super) async fn prepare(session: &Session, config: &CqlConfig) -> StoreResult<Self> {
        let keyspace = &config.keyspace;
        let table = format!("{keyspace}_counters.room_counters_by_user");
        let prepare = async |text: String| {
            let prepared = session.prepare(text.as_str()).await;
            let mut statement =
                prepared.map_err(|e| StoreError::Refused(format!("cannot prepare `{text}`: {e}")))?;
            // Not idempotent, and said twice: nothing tries it again.
            statement.set_is_idempotent(false);
            statement.set_retry_policy(Some(std::sync::Arc::new(FallthroughRetryPolicy::new())));
            statement.set_page_size(PAGE as i32);
            Ok::<_, StoreError>(statement)
        };
        Ok(Self {
            add: prepare(format!(
                "UPDATE {table} SET unread_count = unread_count + ? WHERE user_id = ? AND room_id = ?"
            ))
            .await?,
            get: prepare(format!("SELECT unread_count FROM {table} WHERE user_id = ? AND room_id = ?"))
                .await?,
            all_counters: prepare(format!("SELECT user_id, room_id FROM {table}")).await?,
            all_rooms: prepare(format!("SELECT room_id FROM {keyspace}.rooms")).await?,
            of_user: prepare(format!("SELECT room_id, unread_count FROM {table} WHERE user_id = ?")).await?,
        })
    }
}

impl CqlStore {
    /// Brings the counters of all members of these rooms to what is exact, of rooms that have at most `members_max`; and of
    /// those who are `gone` to 0.
    pub async fn count_unread(
        &self,
        rooms: Vec<RoomId>,
        gone: Vec<(UserId, RoomId)>,
        members_max: u64,
    ) -> StoreResult<CountersReport> {
        let inner = std::sync::Arc::clone(&self.inner);
        self.run(async move {
            let mut report = CountersReport::default();
            let mut counting = stream::iter(rooms)
                .map(|room| inner.count_room(room, members_max, true))
                .buffer_unordered(ROOMS_AT_ONCE);
            while let Some(counted) = counting.try_next().await? {
                report.add(counted);
            }
            for (user, room) in gone {
                let (user, room) = (int(user.get()), uuid(room.as_bytes()));
                report.add(inner.count_left_over(user, room, members_max, true).await?);
            }
            Ok(report)
        })
        .await
    }

    /// How far each partition's log has been counted.
    pub async fn counted(&self, partitions: Partition) -> StoreResult<Positions> {
        let inner = std::sync::Arc::clone(&self.inner);
        self.run(async move {
            let names = (0..partitions).map(counted_fact);
            stream::iter(names).map(|name| inner.fact(name)).buffered(AT_ONCE).try_collect().await
        })
        .await
    }

    /// Writes that; it never moves back.
    pub async fn set_counted(&self, positions: &Positions) -> StoreResult<()> {
        let inner = std::sync::Arc::clone(&self.inner);
        let positions = positions.clone();
        self.run(async move {
            let facts = positions.into_iter().zip(0..).filter(|(position, _)| *position > 0);
            let facts = facts.map(|(position, partition)| inner.set_fact(counted_fact(partition), position));
            stream::iter(facts).buffer_unordered(AT_ONCE).try_collect().await
        })
        .await
    }

    /// Compares every counter there is or should be, and mends what is wrong if asked to. Reads all rooms, members and counters.
    pub async fn verify_counters(&self, members_max: u64, mend: bool) -> StoreResult<CountersReport> {
        self.verify_counters_of(|_| true, members_max, mend).await
    }

    /// The same of some rooms.
    pub async fn verify_counters_of(
        &self,
        is_one: impl Fn(RoomId) -> bool + Send + Sync + 'static,
        members_max: u64,
        mend: bool,
    ) -> StoreResult<CountersReport> {
        let inner = std::sync::Arc::clone(&self.inner);
        self.run(async move { inner.verify_counters(&is_one, members_max, mend).await }).await
    }

    /// The counters of a user that are not 0: their badge is the sum.
    pub async fn unread_counters(&self, user: UserId) -> StoreResult<Vec<(RoomId, i64)>> {
        let inner = std::sync::Arc::clone(&self.inner);
        self.run(async move {
            let statement = &inner.counters.of_user;
            let rows: Vec<(Uuid, Option<Counter>)> =
                inner.rows(Kind::ReadCounters, statement, (int(user.get()),), usize::MAX).await?;
            let counters =
                rows.into_iter().map(|(room, count)| (room.into(), count.map_or(0, |count| count.0)));
            Ok(counters.filter(|(_, count)| *count != 0).collect())
        })
        .await
    }
}

impl Inner {
    async fn verify_counters(
        &self,
        is_one: &(impl Fn(RoomId) -> bool + Sync),
        members_max: u64,
        mend: bool,
    ) -> StoreResult<CountersReport> {
        let mut report = CountersReport::default();
        let mut page = PagingState::start();
        loop {
            let (rooms, next) = self.scan::<(Uuid,)>(&self.counters.all_rooms, page).await?;
            for (room,) in rooms.into_iter().filter(|(room,)| is_one((*room).into())) {
                report.add(self.count_room(room.into(), members_max, mend).await?);
            }
            let Some(next) = next else { break };
            page = next;
        }
        // Counters of people who have left, or of rooms that have grown too large, should be 0.
        let mut page = PagingState::start();
        loop {
            let (counters, next) = self.scan::<(i64, Uuid)>(&self.counters.all_counters, page).await?;
            let counters = counters.into_iter().filter(|(_, room)| is_one((*room).into()));
            let reports: Vec<_> = stream::iter(counters)
                .map(|(user, room)| self.count_left_over(user, room, members_max, mend))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            reports.into_iter().for_each(|one| report.add(one));
            match next {
                Some(next) => page = next,
                None => return Ok(report),
            }
        }
    }

    async fn count_room(&self, room: RoomId, members_max: u64, mend: bool) -> StoreResult<CountersReport> {
        let mut report = CountersReport::default();
        let as_of = Instant::now();
        let Some(row) = self.room(room).await? else { return Ok(report) };
        if row.member_count > members_max {
            return Ok(report);
        }
        let mut after = 0;
        loop {
            let members = self.members(room, after, PAGE).await?;
            let Some(last) = members.last() else { return Ok(report) };
            after = last.user.get();
            let reports: Vec<_> = stream::iter(members)
                .map(|member| {
                    let exact = (exact(&row, &member), as_of);
                    self.count(int(member.user.get()), uuid(room.as_bytes()), exact, mend)
                })
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            reports.into_iter().for_each(|one| report.add(one));
        }
    }

    /// Of a counter that is there: only what [`count_room`](Self::count_room) did not look at.
    async fn count_left_over(
        &self,
        user: i64,
        room: Uuid,
        members_max: u64,
        mend: bool,
    ) -> StoreResult<CountersReport> {
        let Some(id) = UserId::new(number(Some(user))) else { return Ok(CountersReport::default()) };
        let as_of = Instant::now();
        let row = self.room(room.into()).await?;
        let is_kept = row.is_some_and(|row| row.member_count <= members_max);
        if is_kept && self.member(room.into(), id).await?.is_some() {
            return Ok(CountersReport::default());
        }
        self.count(user, room, (0, as_of), mend).await
    }

    async fn count(
        &self,
        user: i64,
        room: Uuid,
        (mut exact, mut as_of): (i64, Instant),
        mend: bool,
    ) -> StoreResult<CountersReport> {
        let mut report = CountersReport { compared: 1, ..CountersReport::default() };
        for number in 0..TRIES {
            if number > 0 {
                (exact, as_of) = (self.exact_now(user, room, exact).await?, Instant::now());
            }
            let difference = exact - self.counter(user, room).await?;
            if difference == 0 {
                report.mended = report.wrong;
                return Ok(report);
            }
            report.wrong = 1;
            if !mend {
                return Ok(report);
            }
            if as_of.elapsed() > FRESH {
                // To be counted again.
                report.ambiguous += 1;
                return Ok(report);
            }
            let began = Instant::now();
            let added =
                self.session.execute_unpaged(&self.counters.add, (Counter(difference), user, room)).await;
            self.stats.note(Kind::WriteCounters, began.elapsed(), Ended::of(&added, 1));
            match added {
                Ok(_) => {
                    report.mended = 1;
                    return Ok(report);
                }
                Err(error) if matches!(failed(error.clone()), StoreError::Refused(_)) => {
                    return Err(failed(error));
                }
                Err(_) => {
                    report.ambiguous += 1;
                    tokio::time::sleep(SETTLE).await;
                }
            }
        }
        Err(StoreError::Unavailable(format!("the counter of user {user} in room {room} cannot be updated")))
    }

    /// What is exact now, of a counter that is not to be 0 for somebody who has left or whose room has grown too large.
    async fn exact_now(&self, user: i64, room: Uuid, before: i64) -> StoreResult<i64> {
        let id = UserId::new(number(Some(user)));
        let (Some(id), true) = (id, before != 0) else { return Ok(before) };
        let (row, member) = (self.room(room.into()).await?, self.member(room.into(), id).await?);
        Ok(row.zip(member).map_or(0, |(row, member)| exact(&row, &member)))
    }

    async fn counter(&self, user: i64, room: Uuid) -> StoreResult<i64> {
        let row: Option<(Option<Counter>,)> =
            self.row(Kind::ReadCounters, &self.counters.get, (user, room)).await?;
        Ok(row.and_then(|(count,)| count).map_or(0, |count| count.0))
    }

    async fn scan<R>(
        &self,
        statement: &PreparedStatement,
        from: PagingState,
    ) -> StoreResult<(Vec<R>, Option<PagingState>)>
    where
        R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
    {
        self.page(Kind::ReadCounters, statement, &(), from).await
    }
}

fn counted_fact(partition: Partition) -> String {
    format!("counted/{partition}")
}

fn exact(room: &RoomRow, member: &MemberRow) -> i64 {
    int(member.unread(room.head_ordinal))
}
