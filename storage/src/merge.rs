//! What a change does to the row it finds: the rules that make repeating the log harmless.
//!
//! Heads and markers only ever grow; names and previews are what was said last; a membership is replaced by a
//! later one and emptied by [`MemberGone`](crate::Change::MemberGone). So applying any suffix of what was
//! applied again ends where it started, whatever the row looked like in between.

use carillon_protocol::UserId;
use carillon_protocol::frame::Role;

use crate::{MemberRow, RoomRow};

impl RoomRow {
    /// Moves the head, unless it already stands further on.
    pub(crate) fn merge_head(&mut self, seq: u64, ordinal: u64, active_ms: u64, member_count: u64) {
        if seq < self.head_seq {
            return;
        }
        self.head_seq = seq;
        self.head_ordinal = ordinal;
        self.active_ms = active_ms;
        self.member_count = member_count;
    }

    /// Replaces the preview.
    pub(crate) fn set_preview(&mut self, sender: UserId, text: String) {
        self.preview_sender = Some(sender);
        self.preview = text;
    }
}

/// The columns of one user in one room. Markers without a membership are kept but not shown: a suffix of the
/// log may hold a marker whose join came before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MemberColumns {
    pub(crate) joined: Option<Joined>,
    pub(crate) read_seq: u64,
    pub(crate) read_ordinal: u64,
    pub(crate) read_ms: u64,
    pub(crate) own_ordinal: u64,
}

/// How somebody became a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Joined {
    pub(crate) role: Role,
    pub(crate) seq: u64,
    pub(crate) ordinal: u64,
}

impl MemberColumns {
    /// Makes them a member, unless they joined again after that.
    pub(crate) fn merge_joined(&mut self, joined: Joined) {
        if self.joined.is_some_and(|known| known.seq > joined.seq) {
            return;
        }
        self.joined = Some(joined);
        self.merge_read(joined.seq, joined.ordinal, 0);
    }

    /// Moves the read marker forward.
    pub(crate) fn merge_read(&mut self, seq: u64, ordinal: u64, at_ms: u64) {
        self.read_seq = self.read_seq.max(seq);
        self.read_ordinal = self.read_ordinal.max(ordinal);
        self.read_ms = self.read_ms.max(at_ms);
    }

    /// Moves the marker of their own last message forward.
    pub(crate) fn merge_own(&mut self, ordinal: u64) {
        self.own_ordinal = self.own_ordinal.max(ordinal);
    }

    /// The row readers see: nothing where they are not a member.
    pub(crate) fn row(&self, user: UserId) -> Option<MemberRow> {
        self.joined.map(|joined| MemberRow {
            user,
            role: joined.role,
            joined_seq: joined.seq,
            joined_ordinal: joined.ordinal,
            read_seq: self.read_seq,
            read_ordinal: self.read_ordinal,
            read_ms: self.read_ms,
            own_ordinal: self.own_ordinal,
        })
    }
}
