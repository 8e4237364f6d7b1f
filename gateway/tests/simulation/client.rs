//! Somebody who asks for things, again until they are done, of whichever node is there.

use std::collections::BTreeMap;

use carillon_protocol::{ClientId, Frame, RoomId, UserId};

/// Something a client wants done.
#[derive(Clone, Debug)]
pub enum What {
    Create { room: RoomId, members: Vec<UserId> },
    Send { room: RoomId, client_id: ClientId, text: String },
    Read { room: RoomId, seq: u64 },
    Add { room: RoomId, user: UserId },
    Remove { room: RoomId, user: UserId },
    Sync { room: RoomId, after_seq: u64 },
}

pub struct Wish {
    pub what: What,
    /// The number it was last asked under; 0 where it waits to be asked.
    pub request: u64,
    pub asked_ms: u64,
}

pub struct Client {
    pub user: UserId,
    /// Which node, in which life, and which of its shards.
    pub at: Option<(usize, u32, u16)>,
    /// How often it connected: what was said to an earlier session is not for this one.
    pub session: u32,
    pub wishes: Vec<Wish>,
    /// How many messages it has wanted to send.
    pub messages: u64,
    /// How far it has each room's history.
    pub have: BTreeMap<RoomId, u64>,
    /// Whether it may be no member for a while, and so be refused.
    pub is_guest: bool,
}

impl Client {
    pub fn new(user: UserId, is_guest: bool) -> Self {
        let (wishes, have) = (Vec::new(), BTreeMap::new());
        Self { user, at: None, session: 0, wishes, messages: 0, have, is_guest }
    }

    pub fn wish(&mut self, what: What) {
        self.wishes.push(Wish { what, request: 0, asked_ms: 0 });
    }
}

impl What {
    /// Which room it is about.
    pub fn room(&self) -> RoomId {
        match self {
            Self::Create { room, .. }
            | Self::Send { room, .. }
            | Self::Read { room, .. }
            | Self::Add { room, .. }
            | Self::Remove { room, .. }
            | Self::Sync { room, .. } => *room,
        }
    }

    /// What is asked.
    pub fn frame(&self, request: u64) -> Frame<'static> {
        match self.clone() {
            Self::Create { room, members } => {
                Frame::CreateRoom { request, room, name: "room".into(), members }
            }
            Self::Send { room, client_id, text } => {
                Frame::Send { request, room, client_id, text: text.into() }
            }
            Self::Read { room, seq } => Frame::MarkRead { request, room, seq },
            Self::Add { room, user } => Frame::AddMembers { request, room, members: vec![user] },
            Self::Remove { room, user } => Frame::RemoveMember { request, room, user },
            Self::Sync { room, after_seq } => Frame::Sync { request, room, after_seq, limit: 5 },
        }
    }
}
