//! What an app holds: the client, and the stream of its updates.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use carillon_protocol::frame::RoomEntry;
use carillon_protocol::{Frame, RoomId, UserId};
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::session::Command;
use crate::{ClientBuilder, ConnectionState, Error, Result, Room, Update};

/// How long [`Client::close`] waits for what is under way.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// A user's session with the gateway, across all its connections. Clones are the same client.
///
/// Dropping the future of a request does not take the request back.
#[derive(Clone, Debug)]
pub struct Client {
    user: UserId,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<ConnectionState>,
}

/// What happens in the user's rooms, in order. A [`Stream`], and without one [`Updates::next`].
///
/// Dropping it says that the app does not want updates; the client goes on without.
#[derive(Debug)]
pub struct Updates {
    queue: mpsc::Receiver<Update>,
}

impl Client {
    pub(crate) fn new(
        user: UserId,
        commands: mpsc::Sender<Command>,
        state: watch::Receiver<ConnectionState>,
    ) -> Self {
        Self { user, commands, state }
    }

    /// A client of the gateway at `ws://host:port/v1/ws` or (raw TCP) `tcp://host:port`.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url.into())
    }

    /// Who the token says the user is.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// Whether the client is connected, now (`borrow`) and as it changes (`changed`).
    ///
    /// ```no_run
    /// # async fn run(client: carillon_sdk::Client) {
    /// let mut state = client.state();
    /// while state.changed().await.is_ok() {
    ///     println!("{:?}", *state.borrow());
    /// }
    /// # }
    /// ```
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// All rooms of the user, most recently active first, with what is unread in each.
    ///
    /// ```no_run
    /// # async fn run(client: carillon_sdk::Client) -> carillon_sdk::Result<()> {
    /// for room in client.rooms().await? {
    ///     println!("{} ({} unread): {}", room.name, room.unread, room.preview);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rooms(&self) -> Result<Vec<RoomEntry<'static>>> {
        let mut all = Vec::new();
        let mut page = None;
        loop {
            let asked = Frame::Rooms { request: 0, changed_since: 0, limit: 0, page };
            match self.request(asked).await? {
                Frame::RoomList { rooms, next, .. } => {
                    all.extend(rooms);
                    page = next;
                }
                other => return Err(Error::Unexpected(other.name())),
            }
            if page.is_none() {
                return Ok(all);
            }
        }
    }

    /// Creates a room with the user as its owner and `members` beside.
    ///
    /// ```no_run
    /// # async fn run(client: carillon_sdk::Client) -> carillon_sdk::Result<()> {
    /// let bob = carillon_sdk::UserId::new(43).expect("a user id is not 0");
    /// let room = client.create_room("Ringers", [bob]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_room(
        &self,
        name: impl Into<String>,
        members: impl IntoIterator<Item = UserId>,
    ) -> Result<Room> {
        let room = RoomId::from(Uuid::now_v7());
        let members = members.into_iter().collect();
        self.done(Frame::CreateRoom { request: 0, room, name: name.into().into(), members }).await?;
        Ok(self.room(room))
    }

    /// A room of which the id is known. Asks nobody.
    pub fn room(&self, id: RoomId) -> Room {
        Room::new(self.clone(), id)
    }

    /// Waits until what is under way is answered, for 10 seconds at most, and says goodbye. Everything that is asked
    /// afterwards, or was not answered by then, ends with [`Error::Closed`].
    pub async fn close(self) {
        let wait_ms = CLOSE_WAIT.as_millis() as u64;
        if self.commands.send(Command::Close { wait_ms }).await.is_ok() {
            self.commands.closed().await;
        }
    }

    /// Asks the gateway and waits for the answer.
    pub(crate) async fn request(&self, frame: Frame<'static>) -> Result<Frame<'static>> {
        let (reply, answer) = oneshot::channel();
        match self.commands.send(Command::Request(frame, reply)).await {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(self.end())),
            Err(_) => Err(self.end()),
        }
    }

    /// Asks the gateway to do something; returns the seq, ordinal and time of the `ack`.
    pub(crate) async fn done(&self, frame: Frame<'static>) -> Result<(u64, u64, u64)> {
        match self.request(frame).await? {
            Frame::Ack { seq, ordinal, at_ms, .. } => Ok((seq, ordinal, at_ms)),
            other => Err(Error::Unexpected(other.name())),
        }
    }

    /// Tells the gateway something that needs no answer.
    pub(crate) async fn tell(&self, frame: Frame<'static>) -> Result<()> {
        self.commands.send(Command::Tell(frame)).await.map_err(|_| self.end())
    }

    /// Why nothing more can be asked.
    fn end(&self) -> Error {
        match &*self.state.borrow() {
            ConnectionState::Closed(error) => error.clone(),
            _ => Error::Closed,
        }
    }
}

impl Updates {
    pub(crate) fn new(queue: mpsc::Receiver<Update>) -> Self {
        Self { queue }
    }

    /// The next update; nothing once the client has ended.
    ///
    /// ```no_run
    /// # async fn run(mut updates: carillon_sdk::Updates) {
    /// while let Some(update) = updates.next().await {
    ///     println!("{update:?}");
    /// }
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Update> {
        self.queue.recv().await
    }
}

impl Stream for Updates {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.queue.poll_recv(cx)
    }
}
