//! Every statement that is ever sent, prepared once.

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::prepared::PreparedStatement;

use super::CqlConfig;
use super::row::Row;
use crate::{StoreError, StoreResult};

/// Rows that a server sends at a time; more of them make another page.
pub(super) const PAGE_ROWS: i32 = 256;

macro_rules! statements {
    ($( $role:ident $name:ident: $text:literal; )+) => {
        /// All of them can be repeated without harm, so the driver may try each again.
        pub(super) struct Statements {
            $( pub(super) $name: PreparedStatement, )+
        }

        impl Statements {
            pub(super) async fn prepare(session: &Session, config: &CqlConfig) -> StoreResult<Self> {
                let keyspace = &config.keyspace;
                Ok(Self { $(
                    $name: $role(session, config, &$text.replace("{k}", keyspace)).await?,
                )+ })
            }
        }
    };
}

statements! {
    write room_name: "UPDATE {k}.rooms USING TIMESTAMP ? SET name = ? WHERE room_id = ?";
    write room_head: "UPDATE {k}.rooms USING TIMESTAMP ? SET head_seq = ?, head_ordinal = ?, active_at = ?, \
        member_count = ? WHERE room_id = ?";
    write room_preview: "UPDATE {k}.rooms USING TIMESTAMP ? SET preview_sender = ?, preview = ? WHERE room_id = ?";
    write message: "INSERT INTO {k}.messages (room_id, bucket, seq, event) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    write member_joined: "UPDATE {k}.members_by_room USING TIMESTAMP ? SET role = ?, joined_seq = ?, \
        joined_ordinal = ? WHERE room_id = ? AND user_id = ?";
    write member_gone: "DELETE FROM {k}.members_by_room USING TIMESTAMP ? WHERE room_id = ? AND user_id = ?";
    write read_marker: "UPDATE {k}.members_by_room USING TIMESTAMP ? SET read_seq = ?, read_ordinal = ?, \
        read_ms = ? WHERE room_id = ? AND user_id = ?";
    write own_send: "UPDATE {k}.members_by_room USING TIMESTAMP ? SET own_ordinal = ? \
        WHERE room_id = ? AND user_id = ?";
    write user_room_added: "INSERT INTO {k}.rooms_by_user (user_id, room_id, joined_seq) VALUES (?, ?, ?) \
        USING TIMESTAMP ?";
    write user_room_gone: "DELETE FROM {k}.rooms_by_user USING TIMESTAMP ? WHERE user_id = ? AND room_id = ?";
    write sent: "INSERT INTO {k}.sent_ids (room_id, sender_id, client_id, seq, ordinal, sent_ms, text_hash) \
        VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    write archived: "INSERT INTO {k}.archived (log_partition, position) VALUES (?, ?) USING TIMESTAMP ?";
    write fact: "INSERT INTO {k}.facts (name, value) VALUES (?, ?) USING TIMESTAMP ?";
    read get_room: "SELECT name, head_seq, head_ordinal, active_at, member_count, preview_sender, preview \
        FROM {k}.rooms WHERE room_id = ?";
    read get_member: "SELECT user_id, role, joined_seq, joined_ordinal, read_seq, read_ordinal, read_ms, own_ordinal \
        FROM {k}.members_by_room WHERE room_id = ? AND user_id = ?";
    read get_members: "SELECT user_id, role, joined_seq, joined_ordinal, read_seq, read_ordinal, read_ms, own_ordinal \
        FROM {k}.members_by_room WHERE room_id = ? AND user_id > ?";
    read get_user_rooms: "SELECT room_id FROM {k}.rooms_by_user WHERE user_id = ? AND room_id > ? LIMIT ?";
    read get_events: "SELECT seq, event FROM {k}.messages WHERE room_id = ? AND bucket = ? AND seq >= ? LIMIT ?";
    read get_sent: "SELECT seq, ordinal, sent_ms, text_hash FROM {k}.sent_ids \
        WHERE room_id = ? AND sender_id = ? AND client_id = ?";
    read get_archived: "SELECT position FROM {k}.archived WHERE log_partition = ?";
    read get_fact: "SELECT value FROM {k}.facts WHERE name = ?";
}

impl Statements {
    /// The statement that writes that row.
    pub(super) fn of(&self, row: &Row) -> &PreparedStatement {
        match row {
            Row::RoomName { .. } => &self.room_name,
            Row::RoomHead { .. } => &self.room_head,
            Row::RoomPreview { .. } => &self.room_preview,
            Row::Message { .. } => &self.message,
            Row::MemberJoined { .. } => &self.member_joined,
            Row::MemberGone { .. } => &self.member_gone,
            Row::ReadMarker { .. } => &self.read_marker,
            Row::OwnSend { .. } => &self.own_send,
            Row::UserRoomAdded { .. } => &self.user_room_added,
            Row::UserRoomGone { .. } => &self.user_room_gone,
            Row::Sent { .. } => &self.sent,
        }
    }
}

async fn write(session: &Session, _: &CqlConfig, text: &str) -> StoreResult<PreparedStatement> {
    let prepared = session.prepare(text).await;
    let mut statement = prepared.map_err(|e| StoreError::Refused(format!("cannot prepare `{text}`: {e}")))?;
    statement.set_is_idempotent(true);
    Ok(statement)
}

async fn read(session: &Session, config: &CqlConfig, text: &str) -> StoreResult<PreparedStatement> {
    let mut statement = write(session, config, text).await?;
    statement.set_page_size(PAGE_ROWS);
    if !config.speculative.is_zero() {
        // The one policy of ours that a read has and a write has not.
        let policy =
            SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval: config.speculative };
        let profile = session.get_default_execution_profile_handle().pointee_to_builder();
        let profile = profile.speculative_execution_policy(Some(Arc::new(policy))).build();
        statement.set_execution_profile_handle(Some(profile.into_handle()));
    }
    Ok(statement)
}
