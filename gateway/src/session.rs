//! A session: who a connection is, once it said hello.

use carillon_protocol::frame::Head;
use carillon_protocol::{RoomId, UserId};

/// How many rooms' heads a ping carries at most, of large rooms and of small ones; what is beyond is noticed by the next event.
pub const HEADS_MAX: usize = 16;

/// An authenticated connection of a user's device.
#[expect(clippy::box_collection, reason = "a word instead of three in every session")]
pub struct Session {
    /// Who.
    pub user: UserId,
    /// Which of their devices.
    pub device: Box<str>,
    /// When its token runs out, in seconds since 1970.
    pub expires_s: u64,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// Large rooms whose events it gets.
    pub subscribed: Vec<RoomId>,
    /// Rooms its user left while it was being found out which are large; nothing once that is known.
    left: Option<Box<Vec<RoomId>>>,
    /// Small rooms that moved since the last ping.
    moved: Vec<Head>,
    /// The second in which it asked last, since 1970 and going around, and how often in that.
    asked: (u32, u32),
}

impl Session {
    /// A session that just began.
    pub fn new(user: UserId, device: &str, expires_s: u64, began_ms: u64) -> Self {
        let (subscribed, left, moved) = (Vec::new(), Some(Box::default()), Vec::new());
        Self { user, device: device.into(), expires_s, began_ms, subscribed, left, moved, asked: (0, 0) }
    }

    /// Notes that its user left a room, or is in it (again).
    pub fn is_in(&mut self, room: RoomId, is_in: bool) {
        if let Some(left) = &mut self.left {
            left.retain(|&other| other != room);
            if !is_in {
                left.push(room);
            }
        }
    }

    /// Its large rooms are known from now on; those its user left meanwhile.
    pub fn settle(&mut self) -> Vec<RoomId> {
        self.left.take().map_or(Vec::new(), |left| *left)
    }

    /// Counts a request; says how many there were in this second.
    pub fn count_request(&mut self, now_s: u64) -> usize {
        let now_s = now_s as u32;
        if self.asked.0 != now_s {
            self.asked = (now_s, 0);
        }
        self.asked.1 = self.asked.1.saturating_add(1);
        self.asked.1 as usize
    }

    /// Notes that a room moved, for the next ping.
    pub fn moved(&mut self, room: RoomId, seq: u64) {
        match self.moved.iter_mut().find(|head| head.room == room) {
            Some(head) => head.seq = seq,
            None => {
                if self.moved.len() < HEADS_MAX {
                    self.moved.push(Head { room, seq });
                }
            }
        }
    }

    /// What moved since the last ping; forgotten by being told.
    pub fn take_moved(&mut self) -> Vec<Head> {
        std::mem::take(&mut self.moved)
    }
}
