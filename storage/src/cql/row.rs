//! A row as it is written: one statement's values, and which partition it lies in.

use carillon_protocol::{RoomId, UserId};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use uuid::Uuid;

use super::status::Kind;
use crate::{BUCKET_EVENTS, Change, StoreError};

/// Rows that may go in one batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Key {
    /// A room's row and its members': two tables, the same partition key, so the same servers.
    Room(Uuid),
    /// Some events of a room.
    Bucket(Uuid, i64),
    /// The rooms of a user.
    User(i64),
    /// What a user sent in a room.
    Sender(Uuid, i64),
}

impl Key {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Key::Room(_) => Kind::WriteRooms,
            Key::Bucket(..) => Kind::WriteMessages,
            Key::User(_) => Kind::WriteUserRooms,
            Key::Sender(..) => Kind::WriteSent,
        }
    }
}

/// The values of one statement of [`Statements`](super::statements::Statements), in the order of its question marks. The first is
/// the timestamp where the statement begins with it.
pub(super) enum Row {
    RoomName {
        as_of: i64,
        name: String,
        room: Uuid,
    },
    RoomHead {
        as_of: i64,
        seq: i64,
        ordinal: i64,
        active_ms: i64,
        member_count: i64,
        room: Uuid,
    },
    RoomPreview {
        as_of: i64,
        sender: i64,
        text: String,
        room: Uuid,
    },
    Message {
        room: Uuid,
        bucket: i64,
        seq: i64,
        event: Vec<u8>,
        as_of: i64,
    },
    MemberJoined {
        as_of: i64,
        role: i8,
        seq: i64,
        ordinal: i64,
        room: Uuid,
        user: i64,
    },
    MemberGone {
        as_of: i64,
        room: Uuid,
        user: i64,
    },
    ReadMarker {
        as_of: i64,
        seq: i64,
        ordinal: i64,
        at_ms: i64,
        room: Uuid,
        user: i64,
    },
    OwnSend {
        as_of: i64,
        ordinal: i64,
        room: Uuid,
        user: i64,
    },
    UserRoomAdded {
        user: i64,
        room: Vec<u8>,
        seq: i64,
        as_of: i64,
    },
    UserRoomGone {
        as_of: i64,
        user: i64,
        room: Vec<u8>,
    },
    Sent {
        room: Uuid,
        sender: i64,
        client_id: Uuid,
        seq: i64,
        ordinal: i64,
        at_ms: i64,
        text_hash: i64,
        as_of: i64,
    },
}

impl SerializeRow for Row {
    fn serialize(
        &self,
        ctx: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Row::RoomName { as_of, name, room } => (as_of, name, room).serialize(ctx, writer),
            Row::RoomHead { as_of, seq, ordinal, active_ms, member_count, room } => {
                let active_at = scylla::value::CqlTimestamp(*active_ms);
                (as_of, seq, ordinal, active_at, member_count, room).serialize(ctx, writer)
            }
            Row::RoomPreview { as_of, sender, text, room } => {
                (as_of, sender, text, room).serialize(ctx, writer)
            }
            Row::Message { room, bucket, seq, event, as_of } => {
                (room, bucket, seq, event, as_of).serialize(ctx, writer)
            }
            Row::MemberJoined { as_of, role, seq, ordinal, room, user } => {
                (as_of, role, seq, ordinal, room, user).serialize(ctx, writer)
            }
            Row::MemberGone { as_of, room, user } => (as_of, room, user).serialize(ctx, writer),
            Row::ReadMarker { as_of, seq, ordinal, at_ms, room, user } => {
                (as_of, seq, ordinal, at_ms, room, user).serialize(ctx, writer)
            }
            Row::OwnSend { as_of, ordinal, room, user } => {
                (as_of, ordinal, room, user).serialize(ctx, writer)
            }
            Row::UserRoomAdded { user, room, seq, as_of } => (user, room, seq, as_of).serialize(ctx, writer),
            Row::UserRoomGone { as_of, user, room } => (as_of, user, room).serialize(ctx, writer),
            Row::Sent { room, sender, client_id, seq, ordinal, at_ms, text_hash, as_of } => {
                (room, sender, client_id, seq, ordinal, at_ms, text_hash, as_of).serialize(ctx, writer)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl Row {
    /// About how much it adds to a batch, in bytes.
    pub(super) fn bytes(&self) -> usize {
        const NUMBERS: usize = 128;
        NUMBERS
            + match self {
                Row::Message { event, .. } => event.len(),
                Row::RoomName { name: text, .. } | Row::RoomPreview { text, .. } => text.len(),
                _ => 0,
            }
    }
}

impl Row {
    /// The change it was made from, where it has more in it than numbers.
    pub(super) fn into_change(self) -> Option<Change> {
        let room_id = |room: Uuid| RoomId::from_bytes(room.into_bytes());
        match self {
            Row::Message { room, seq, event, as_of, .. } => Some(Change::Event {
                room: room_id(room),
                seq: number(Some(seq)),
                bytes: event,
                changed_seq: number(Some(as_of)),
            }),
            Row::RoomName { as_of, name, room } => {
                Some(Change::Room { room: room_id(room), name, seq: number(Some(as_of)) })
            }
            Row::RoomPreview { as_of, sender, text, room } => Some(Change::Preview {
                room: room_id(room),
                sender: UserId::new(number(Some(sender)))?,
                text,
                seq: number(Some(as_of)),
            }),
            _ => None,
        }
    }
}

/// The rows that a change comes to, each with its key.
pub(super) fn add_rows(change: Change, mut add: impl FnMut(Key, Row)) {
    match change {
        Change::Room { room, name, seq } => {
            let room = uuid(room.as_bytes());
            add(Key::Room(room), Row::RoomName { as_of: int(seq), name, room });
        }
        Change::Head { room, seq, ordinal, active_ms, member_count } => {
            let room = uuid(room.as_bytes());
            let (seq, ordinal, active_ms, member_count) =
                (int(seq), int(ordinal), int(active_ms), int(member_count));
            add(Key::Room(room), Row::RoomHead { as_of: seq, seq, ordinal, active_ms, member_count, room });
        }
        Change::Preview { room, sender, text, seq } => {
            let room = uuid(room.as_bytes());
            add(Key::Room(room), Row::RoomPreview { as_of: int(seq), sender: int(sender.get()), text, room });
        }
        Change::Event { room, seq, bytes, changed_seq } => {
            let (room, bucket) = (uuid(room.as_bytes()), int(seq / BUCKET_EVENTS));
            let row = Row::Message { room, bucket, seq: int(seq), event: bytes, as_of: int(changed_seq) };
            add(Key::Bucket(room, bucket), row);
        }
        Change::MemberJoined { room, user, role, seq, ordinal } => {
            let (id, user, seq, ordinal) = (uuid(room.as_bytes()), int(user.get()), int(seq), int(ordinal));
            let row = Row::MemberJoined { as_of: seq, role: role as u8 as i8, seq, ordinal, room: id, user };
            add(Key::Room(id), row);
            add(
                Key::User(user),
                Row::UserRoomAdded { user, room: room.as_bytes().to_vec(), seq, as_of: seq },
            );
        }
        Change::MemberGone { room, user, seq } => {
            let (id, user, as_of) = (uuid(room.as_bytes()), int(user.get()), int(seq));
            add(Key::Room(id), Row::MemberGone { as_of, room: id, user });
            add(Key::User(user), Row::UserRoomGone { as_of, user, room: room.as_bytes().to_vec() });
        }
        Change::ReadMarker { room, user, seq, ordinal, at_ms } => {
            let (room, seq) = (uuid(room.as_bytes()), int(seq));
            let (ordinal, at_ms, user) = (int(ordinal), int(at_ms), int(user.get()));
            add(Key::Room(room), Row::ReadMarker { as_of: seq, seq, ordinal, at_ms, room, user });
        }
        Change::OwnSend { room, user, seq, ordinal } => {
            let room = uuid(room.as_bytes());
            let row = Row::OwnSend { as_of: int(seq), ordinal: int(ordinal), room, user: int(user.get()) };
            add(Key::Room(room), row);
        }
        Change::Sent { room, sender, client_id, row } => {
            let (room, sender) = (uuid(room.as_bytes()), int(sender.get()));
            let row = Row::Sent {
                room,
                sender,
                client_id: uuid(client_id.as_bytes()),
                seq: int(row.seq),
                ordinal: int(row.ordinal),
                at_ms: int(row.at_ms),
                text_hash: row.text_hash as i64,
                // Timestamps are microseconds where they are times.
                as_of: int(row.at_ms.saturating_mul(1000)),
            };
            add(Key::Sender(room, sender), row);
        }
    }
}

pub(super) fn uuid(bytes: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*bytes)
}

/// Numbers of ours are below 2^63; one that is not is as good as the largest.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of ours that a table gave back; nothing stands for 0.
pub(super) fn number(stored: Option<i64>) -> u64 {
    stored.unwrap_or(0).try_into().unwrap_or(0)
}

pub(super) fn failed(error: ExecutionError) -> StoreError {
    let refused = matches!(
        &error,
        ExecutionError::BadQuery(_)
            | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::Invalid
                    | DbError::SyntaxError
                    | DbError::ConfigError
                    | DbError::Unauthorized
                    | DbError::AuthenticationError,
                _
            ))
    );
    match refused {
        true => StoreError::Refused(error.to_string()),
        false => StoreError::Unavailable(error.to_string()),
    }
}

/// Whether a request may have been refused for what is in its rows: that one is too large, above all. It may still be for what
/// is no row's fault: a table that is gone is told in the same way.
pub(super) fn may_be_unfit(error: &ExecutionError) -> bool {
    use RequestAttemptError as Attempt;
    match error {
        ExecutionError::BadQuery(_)
        | ExecutionError::LastAttemptError(
            Attempt::SerializationError(_)
            | Attempt::CqlRequestSerialization(_)
            | Attempt::DbError(DbError::Invalid, _),
        ) => true,
        // What ScyllaDB's replicas answer, each for itself, to a row that is larger than their commit log takes.
        ExecutionError::LastAttemptError(Attempt::DbError(DbError::WriteFailure { .. }, says)) => {
            says.contains("too large")
        }
        _ => false,
    }
}
