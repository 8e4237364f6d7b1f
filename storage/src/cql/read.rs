//! Reading: every question is a few requests to one partition each.

use std::sync::atomic::Ordering;
use std::time::Instant;

use carillon_protocol::frame::Role;
use carillon_protocol::{ClientId, RoomId, UserId};
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::Inner;
use super::pace::Answer;
use super::row::{failed, int, number, uuid};
use super::status::{Ended, Kind};
use crate::merge::{Joined, MemberColumns};
use crate::{
    BUCKET_EVENTS, MemberRow, Partition, Positions, RoomHeads, RoomRow, SentRow, StoreError, StoreResult,
    StoredEvent,
};

/// Requests of one question that are on their way at once.
const AT_ONCE: usize = 64;

/// The fact that says before which moment client ids are forgotten.
pub(super) const SENT_FROM: &str = "sent_from_ms";

type RoomColumns = (
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<CqlTimestamp>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);
type StoredMember =
    (i64, Option<i8>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
type SentColumns = (Option<i64>, Option<i64>, Option<i64>, Option<i64>);

impl Inner {
    pub(super) async fn archived(&self, partitions: Partition) -> StoreResult<Positions> {
        stream::iter(0..partitions)
            .map(|partition| self.position(partition))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn position(&self, partition: Partition) -> StoreResult<u64> {
        let values = (i32::from(partition),);
        let row: Option<(Option<i64>,)> =
            self.row(Kind::ReadArchived, &self.statements.get_archived, values).await?;
        Ok(number(row.and_then(|(position,)| position)))
    }

    pub(super) async fn fact(&self, name: String) -> StoreResult<u64> {
        let row: Option<(Option<i64>,)> =
            self.row(Kind::ReadArchived, &self.statements.get_fact, (name,)).await?;
        Ok(number(row.and_then(|(value,)| value)))
    }

    pub(super) async fn room(&self, room: RoomId) -> StoreResult<Option<RoomRow>> {
        let values = (uuid(room.as_bytes()),);
        let row: Option<RoomColumns> = self.row(Kind::ReadRoom, &self.statements.get_room, values).await?;
        Ok(row.map(|(name, head_seq, head_ordinal, active_at, member_count, sender, preview)| RoomRow {
            name: name.unwrap_or_default(),
            head_seq: number(head_seq),
            head_ordinal: number(head_ordinal),
            active_ms: number(active_at.map(|at| at.0)),
            member_count: number(member_count),
            preview_sender: UserId::new(number(sender)),
            preview: preview.unwrap_or_default(),
        }))
    }

    /// Two requests for each room, to the same servers.
    pub(super) async fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> StoreResult<RoomHeads> {
        stream::iter(rooms)
            .map(|room| async move {
                let (row, member) = futures_util::try_join!(self.room(room), self.member(room, user))?;
                Ok(row.zip(member))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    pub(super) async fn member(&self, room: RoomId, user: UserId) -> StoreResult<Option<MemberRow>> {
        let values = (uuid(room.as_bytes()), int(user.get()));
        let row: Option<StoredMember> =
            self.row(Kind::ReadMember, &self.statements.get_member, values).await?;
        row.map_or(Ok(None), member_row)
    }

    /// Rows of people who are no members, for whom only a marker has arrived yet, are passed over.
    pub(super) async fn members(
        &self,
        room: RoomId,
        after: u64,
        limit: usize,
    ) -> StoreResult<Vec<MemberRow>> {
        let values = (uuid(room.as_bytes()), int(after));
        let mut members = Vec::new();
        let mut page = PagingState::start();
        while members.len() < limit {
            let (rows, next) = self
                .page::<StoredMember>(Kind::ReadMembers, &self.statements.get_members, &values, page)
                .await?;
            for row in rows {
                members.extend(member_row(row)?);
            }
            match next {
                Some(next) => page = next,
                None => break,
            }
        }
        members.truncate(limit);
        Ok(members)
    }

    pub(super) async fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> StoreResult<Vec<RoomId>> {
        // No bytes come before all others.
        let after = after.map_or_else(Vec::new, |room| room.as_bytes().to_vec());
        let values = (int(user.get()), after, rows_max(limit));
        let rows: Vec<(Vec<u8>,)> =
            self.rows(Kind::ReadUserRooms, &self.statements.get_user_rooms, values, limit).await?;
        let room = |(bytes,): (Vec<u8>,)| bytes.try_into().map(RoomId::from_bytes);
        rows.into_iter().map(|row| room(row).map_err(|_| corrupt("rooms_by_user"))).collect()
    }

    /// Seqs are dense, so a page that ends before its bucket does ends where the room does.
    pub(super) async fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> StoreResult<Vec<StoredEvent>> {
        let mut page = Page { events: Vec::new(), bytes: 0, limit, bytes_max, is_full: limit == 0 };
        let bucket = from_seq / BUCKET_EVENTS;
        self.read_bucket(room, bucket, from_seq, &mut page).await?;
        let next = (bucket + 1).saturating_mul(BUCKET_EVENTS);
        if !page.is_full && page.events.last().is_some_and(|event| event.seq + 1 == next) {
            self.read_bucket(room, bucket + 1, next, &mut page).await?;
        }
        Ok(page.events)
    }

    async fn read_bucket(
        &self,
        room: RoomId,
        bucket: u64,
        from_seq: u64,
        page: &mut Page,
    ) -> StoreResult<()> {
        let Ok(from_seq) = i64::try_from(from_seq) else { return Ok(()) };
        let values = (uuid(room.as_bytes()), int(bucket), from_seq, rows_max(page.limit - page.events.len()));
        let mut next = PagingState::start();
        while !page.is_full {
            let (rows, more) = self
                .page::<(i64, Option<Vec<u8>>)>(Kind::ReadEvents, &self.statements.get_events, &values, next)
                .await?;
            for (seq, event) in rows {
                page.add(StoredEvent { seq: number(Some(seq)), bytes: event.unwrap_or_default() });
            }
            match more {
                Some(more) => next = more,
                None => break,
            }
        }
        Ok(())
    }

    pub(super) async fn sent(
        &self,
        ids: Vec<(RoomId, UserId, ClientId)>,
    ) -> StoreResult<Vec<Option<SentRow>>> {
        stream::iter(ids)
            .map(|(room, sender, id)| self.sent_row(room, sender, id))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn sent_row(&self, room: RoomId, sender: UserId, id: ClientId) -> StoreResult<Option<SentRow>> {
        let values = (uuid(room.as_bytes()), int(sender.get()), uuid(id.as_bytes()));
        let row: Option<SentColumns> = self.row(Kind::ReadSent, &self.statements.get_sent, values).await?;
        let row = row.map(|(seq, ordinal, at_ms, text_hash)| SentRow {
            seq: number(seq),
            ordinal: number(ordinal),
            at_ms: number(at_ms),
            text_hash: text_hash.unwrap_or(0) as u64,
        });
        Ok(row.filter(|row| row.at_ms >= self.sent_from_ms.load(Ordering::Relaxed)))
    }

    pub(super) async fn row<R>(
        &self,
        kind: Kind,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> StoreResult<Option<R>>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        Ok(self.page(kind, statement, &values, PagingState::start()).await?.0.pop())
    }

    /// Page after page, until `limit` or the end.
    pub(super) async fn rows<R>(
        &self,
        kind: Kind,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        limit: usize,
    ) -> StoreResult<Vec<R>>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let (mut all, mut page) = (Vec::new(), PagingState::start());
        while all.len() < limit {
            let (rows, next) = self.page(kind, statement, &values, page).await?;
            all.extend(rows);
            match next {
                Some(next) => page = next,
                None => break,
            }
        }
        Ok(all)
    }

    pub(super) async fn page<R>(
        &self,
        kind: Kind,
        statement: &PreparedStatement,
        values: &impl SerializeRow,
        from: PagingState,
    ) -> StoreResult<(Vec<R>, Option<PagingState>)>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let began = Instant::now();
        let answer = self.session.execute_single_page(statement, values, from).await;
        let ended = Ended::of(&answer, 0);
        let rows = answer.map_err(failed).and_then(|(result, next)| {
            let rows = result.into_rows_result().map_err(|e| unexpected(kind, &e))?;
            let rows = rows.rows::<R>().map_err(|e| unexpected(kind, &e))?;
            let rows = rows.collect::<Result<Vec<R>, _>>().map_err(|e| unexpected(kind, &e))?;
            let next = match next {
                PagingStateResponse::HasMorePages { state } => Some(state),
                PagingStateResponse::NoMorePages => None,
            };
            Ok((rows, next))
        });
        let ended = match &rows {
            Ok((rows, _)) => Ended::Well(rows.len()),
            // It was answered, and not understood.
            Err(_) if matches!(ended, Ended::Well(_)) => Ended::Failed,
            Err(_) => ended,
        };
        if let Answer::Good(took) = self.stats.note(kind, began.elapsed(), ended) {
            self.pace.read(kind, took);
        }
        rows
    }
}

/// Events that are gathered until there are enough.
struct Page {
    events: Vec<StoredEvent>,
    bytes: usize,
    limit: usize,
    bytes_max: usize,
    is_full: bool,
}

impl Page {
    fn add(&mut self, event: StoredEvent) {
        self.bytes = self.bytes.saturating_add(event.bytes.len());
        self.is_full |= self.bytes > self.bytes_max && !self.events.is_empty();
        if !self.is_full {
            self.events.push(event);
            self.is_full = self.events.len() >= self.limit;
        }
    }
}

fn member_row(stored: StoredMember) -> StoreResult<Option<MemberRow>> {
    let (user, role, joined_seq, joined_ordinal, read_seq, read_ordinal, read_ms, own_ordinal) = stored;
    let Some(role) = role else { return Ok(None) };
    let known = [Role::Member, Role::Owner].into_iter().find(|&known| known as u8 as i8 == role);
    let (Some(user), Some(role)) = (UserId::new(number(Some(user))), known) else {
        return Err(corrupt("members_by_room"));
    };
    let mut columns = MemberColumns {
        joined: None,
        read_seq: number(read_seq),
        read_ordinal: number(read_ordinal),
        read_ms: number(read_ms),
        own_ordinal: number(own_ordinal),
    };
    // The marker that joining sets is not stored: it is seen here.
    columns.merge_joined(Joined { role, seq: number(joined_seq), ordinal: number(joined_ordinal) });
    Ok(columns.row(user))
}

fn rows_max(limit: usize) -> i32 {
    // The servers refuse 0; then the answer is not used.
    i32::try_from(limit).unwrap_or(i32::MAX).max(1)
}

fn corrupt(table: &str) -> StoreError {
    StoreError::Corrupt(format!("a row of {table} does not decode"))
}

fn unexpected(kind: Kind, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("{kind:?}: the server answered something else: {error}"))
}
