//! One room, as its member uses it.

use carillon_protocol::frame::Member;
use carillon_protocol::{ClientId, Event, Frame, RoomId, UserId};
use uuid::Uuid;

use crate::{Client, Error, Result};

/// A room of the user's. Clones are the same room.
#[derive(Clone, Debug)]
pub struct Room {
    client: Client,
    id: RoomId,
}

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Its place in the room.
    pub seq: u64,
    /// Its place among the room's messages.
    pub ordinal: u64,
    /// When the gateway took it, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A page of a room's past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    /// The page begins right after this seq: later than asked for, where that is before the user's time in the room. Of an empty
    /// page it is `head_seq`.
    pub after_seq: u64,
    /// The events, in order, without a gap.
    pub events: Vec<Event<'static>>,
    /// The room's last seq: there is more while the last event is before it.
    pub head_seq: u64,
}

impl Room {
    pub(crate) fn new(client: Client, id: RoomId) -> Self {
        Self { client, id }
    }

    /// Which room.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Sends a message; returns once it is durable. Survives reconnects: it is repeated under the same client id, and
    /// appears once. Sends under way at the same time keep their order unless the gateway was busy for some of them.
    ///
    /// ```no_run
    /// # async fn run(room: carillon_sdk::Room) -> carillon_sdk::Result<()> {
    /// let sent = room.send("hi").await?;
    /// println!("event {}, message {}", sent.seq, sent.ordinal);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&self, text: impl Into<String>) -> Result<Sent> {
        self.send_as(ClientId::from(Uuid::new_v4()), text).await
    }

    /// [`Room::send`] under a client id of the app's, which it can use again after [`Error::GaveUp`] or a restart.
    pub async fn send_as(&self, client_id: ClientId, text: impl Into<String>) -> Result<Sent> {
        let send = Frame::Send { request: 0, room: self.id, client_id, text: text.into().into() };
        let (seq, ordinal, at_ms) = self.client.done(send).await?;
        Ok(Sent { seq, ordinal, at_ms })
    }

    /// Everything up to `seq` has been read. Returns where the marker stands now; it never moves back.
    pub async fn read(&self, seq: u64) -> Result<u64> {
        let (seq, ..) = self.client.done(Frame::MarkRead { request: 0, room: self.id, seq }).await?;
        Ok(seq)
    }

    /// The user types, or stopped. Told if connected, and not repeated.
    pub async fn typing(&self, active: bool) -> Result<()> {
        self.client.tell(Frame::Typing { room: self.id, active, user: None }).await
    }

    /// Who belongs to the room, in order of user id.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let mut all: Vec<Member> = Vec::new();
        loop {
            let after_user = all.last().map_or(0, |member| member.user.get());
            let asked = Frame::Members { request: 0, room: self.id, after_user, limit: 0 };
            match self.client.request(asked).await? {
                Frame::MemberList { members, more, .. } => {
                    let is_last = !more || members.is_empty();
                    all.extend(members);
                    if is_last {
                        return Ok(all);
                    }
                }
                other => return Err(Error::Unexpected(other.name())),
            }
        }
    }

    /// Adds members; for owners. Who is a member already is passed over.
    pub async fn add_members(&self, members: impl IntoIterator<Item = UserId>) -> Result<()> {
        let members = members.into_iter().collect();
        self.client.done(Frame::AddMembers { request: 0, room: self.id, members }).await.map(drop)
    }

    /// Removes a member; for owners.
    pub async fn remove(&self, user: UserId) -> Result<()> {
        self.client.done(Frame::RemoveMember { request: 0, room: self.id, user }).await.map(drop)
    }

    /// Leaves the room.
    pub async fn leave(&self) -> Result<()> {
        self.client.done(Frame::Leave { request: 0, room: self.id }).await.map(drop)
    }

    /// Events after a seq (0 for the first there are), at most `limit` (0 leaves it to the gateway).
    ///
    /// ```no_run
    /// # async fn run(room: carillon_sdk::Room) -> carillon_sdk::Result<()> {
    /// let mut after_seq = 0;
    /// loop {
    ///     let page = room.history(after_seq, 100).await?;
    ///     page.events.iter().for_each(|event| println!("{event:?}"));
    ///     after_seq = page.events.last().map_or(page.head_seq, |event| event.seq);
    ///     if after_seq >= page.head_seq {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn history(&self, after_seq: u64, limit: u64) -> Result<History> {
        self.events_from(after_seq.saturating_add(1), limit, None).await
    }

    /// Events from the first at or after a moment on, in milliseconds since 1970 (UTC), at most `limit` (0 leaves it to the gateway).
    pub async fn history_at(&self, at_ms: u64, limit: u64) -> Result<History> {
        self.events_from(0, limit, Some(at_ms)).await
    }

    async fn events_from(&self, from_seq: u64, limit: u64, at_ms: Option<u64>) -> Result<History> {
        match self
            .client
            .request(Frame::History { request: 0, room: self.id, from_seq, limit, at_ms })
            .await?
        {
            Frame::Events { events, head_seq, .. } => {
                let after_seq = events.first().map_or(head_seq, |event| event.seq - 1);
                Ok(History { after_seq, events, head_seq })
            }
            other => Err(Error::Unexpected(other.name())),
        }
    }
}
