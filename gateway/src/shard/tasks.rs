//! What takes a shard more than a moment: reading the store, asking other shards. Each is a future that owns what it
//! needs and comes back with a value; the shard acts on it.

use std::future::Future;
use std::sync::Arc;

use carillon_protocol::frame::Head;
use carillon_protocol::{CloseCode, ErrorCode, Frame, RoomId, UserId};
use carillon_storage::Partition;
use hashbrown::HashMap;

use super::Shard;
use super::ask::Asker;
use super::message::{Answer, Message, Origin, Question, Reply, Request};
use crate::cluster::view::NodeId;
use crate::command::{self, Refusal, rooms};
use crate::connections::Key;
use crate::home::{Found, Loaded, Size, reading};
use crate::route::{Place, Route};

/// New sessions' rooms are read while fewer tasks than this are under way: in a storm of them, sessions that are open
/// already are served first, and memory does not grow with the storm.
const ARRIVALS_MAX: usize = 256;

/// What a task came to.
pub(super) enum Done {
    /// A room was read for its home.
    Room(RoomId, u64, Result<Option<Loaded>, String>),
    /// Requests have what they needed of the store.
    Found(u64, Vec<(Request<'static>, Result<Found, String>)>),
    /// A request's moment has its place in its room.
    Placed(Request<'static>, Result<u64, String>),
    /// An answer for a connection.
    Reply(Origin, Reply),
    /// A request may go on to its home.
    Route(Request<'static>),
    /// An answer for another shard's question.
    Tell(Place, u64, Answer),
    /// How large rooms are that another shard asked for, as far as only the store knew.
    Sizes(Place, u64, UserId, Vec<RoomId>, HashMap<RoomId, Size>),
    /// A new session's large rooms.
    Large(Key, Vec<Head>),
    /// They could not be found out.
    LargeUnknown(Key, UserId),
    /// A new session's user is known to their home.
    Begun(Key),
    /// Their home cannot be told, so the session would hear of nothing.
    NotBegun(Key),
    /// Requests of a partition may go to its home once more.
    TryAgain(Partition),
    /// What is held back may go out by now.
    LookAtHeld,
    /// What nobody took for their users' home may be taken by now.
    ForwardAgain(NodeId, u8, Box<Message>),
    /// What could not be handed to other nodes may be taken by now.
    FlushAway,
    /// Where a room stands, for a shard that wants its events.
    Interesting(Place, Head),
}

impl Shard {
    /// Starts something that takes a while.
    pub(super) fn start(&mut self, task: impl Future<Output = Done> + 'static) {
        self.tasks.push(Box::pin(task));
    }

    /// Starts what the home wants of the store, and hands on what tasks have asked.
    pub(super) fn start_tasks(&mut self) {
        for (wanted, take) in std::mem::take(&mut self.home.wants.rooms) {
            let (store, kept) = (Arc::clone(&self.node.store), self.node.config.room_events_kept);
            self.start(async move { Done::Room(wanted, take, reading::room(store, wanted, kept).await) });
        }
        for (to, page) in std::mem::take(&mut self.home.wants.pages) {
            let store = Arc::clone(&self.node.store);
            self.start(async move {
                let reply = reading::page(store, page).await.unwrap_or_else(|error| {
                    tracing::warn!(room = %page.room, %error, "history could not be read");
                    Reply::Frame(Refusal::later(ErrorCode::UNAVAILABLE).frame(page.request))
                });
                Done::Reply(to, reply)
            });
        }
        for (request, moment) in std::mem::take(&mut self.home.wants.moments) {
            let store = Arc::clone(&self.node.store);
            self.start(async move { Done::Placed(request, reading::place(store, moment).await) });
        }
        // One at a time: what a sender sent first is looked up, and decided, first.
        if !self.looking_up && !self.home.wants.lookups.is_empty() {
            self.looking_up = true;
            let lookups = std::mem::take(&mut self.home.wants.lookups);
            let store = Arc::clone(&self.node.store);
            let take = self.home.takes();
            self.start(async move { Done::Found(take, reading::look_up(store, lookups).await) });
        }
        while self.tasks.len() < ARRIVALS_MAX {
            let Some((key, user)) = self.arrivals.pop_front() else { break };
            self.start(large_rooms(self.asker.clone(), self.node.route.clone(), user, key));
        }
        for (place, number, question) in self.asker.take_asked() {
            let me = self.place();
            self.send(place, Message::Ask(me, number, question));
        }
    }

    /// Acts on what a task came to.
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Room(room, take, result) => self.home.loaded(self.now_ms, room, take, result),
            Done::Found(take, found) => {
                self.looking_up = false;
                for (request, found) in found {
                    self.home.found(self.now_ms, take, request, found);
                }
            }
            Done::Placed(request, placed) => self.home.placed(self.now_ms, request, placed),
            Done::Reply(to, reply) => self.reply(to, reply),
            Done::Route(request) => self.route(request),
            Done::Tell(place, number, answer) => self.send(place, Message::Tell(number, answer)),
            Done::Sizes(place, number, user, rooms, sizes) => {
                let answer = self.send_large(place, user, rooms, &sizes);
                self.send(place, Message::Tell(number, answer));
            }
            Done::Large(key, heads) => self.subscribed(key, heads),
            Done::LargeUnknown(key, user) => self.late_arrivals.push((key, user)),
            Done::Begun(key) => self.welcome(key),
            Done::NotBegun(key) => self.close(key, CloseCode::GO_AWAY, CloseCode::GO_AWAY.sentence()),
            Done::TryAgain(partition) => self.try_again(partition),
            Done::LookAtHeld => self.look_at_held(),
            Done::ForwardAgain(from, hops, message) => self.forwarded(from, hops, *message, true),
            Done::FlushAway => {
                self.flushing_away = false;
                self.flush_away();
            }
            Done::Interesting(place, head) => self.send(place, Message::Interesting(head)),
        }
    }

    /// Answers another shard's question (or one of this shard's own tasks'), now or when the store has answered.
    pub(super) fn asked(&mut self, place: Place, number: u64, question: Question) {
        if !self.is_mine(&question) {
            return self.send(place, Message::Tell(number, Answer::Moved));
        }
        let store = Arc::clone(&self.node.store);
        match question {
            Question::Announce { user } => self.announce_and_tell(place, number, user),
            Question::Present { user, node } => {
                if node != self.node.route.me {
                    self.node.presence.arrive(user, node);
                }
                self.send(place, Message::Tell(number, Answer::Known));
            }
            Question::UserRooms { user, after, limit } => {
                let changes = self.home.users.of(user);
                self.start_answer(place, number, async move {
                    reading::user_rooms(&*store, user, &changes, after, limit).await.map(Answer::Rooms)
                });
            }
            Question::Full { users, max } => {
                let users = users.into_iter().map(|user| (user, self.home.users.of(user))).collect();
                self.start_answer(place, number, async move {
                    reading::full(&*store, users, max).await.map(Answer::Full)
                });
            }
            Question::Heads { user, rooms } => {
                let known = rooms.into_iter().map(|room| (room, self.home.head(room, user))).collect();
                self.start_answer(place, number, async move {
                    reading::heads(store, user, known).await.map(Answer::Heads)
                });
            }
            Question::Large { user, rooms } => {
                let inbox_limit = self.node.config.inbox_limit as u64;
                // A room that is in memory now may have left it by the time the store has told of the others.
                let (mut known, mut unknown) = (HashMap::new(), Vec::new());
                for &room in &rooms {
                    match self.home.size(room, user) {
                        Some(size) => drop(known.insert(room, size)),
                        None => unknown.push(room),
                    }
                }
                self.start(async move {
                    match reading::sizes(store, user, unknown, inbox_limit).await {
                        Ok(sizes) => {
                            known.extend(sizes);
                            Done::Sizes(place, number, user, rooms, known)
                        }
                        Err(error) => Done::Tell(place, number, Answer::Failed(error)),
                    }
                });
            }
        }
    }

    /// Whether this shard is the home of what a question is about.
    fn is_mine(&self, question: &Question) -> bool {
        let route = &self.node.route;
        let has_user = |user: &UserId| self.home.has(route.partition_of_user(*user));
        let has_room = |room: &RoomId| self.home.has(route.partition_of_room(*room));
        match question {
            Question::UserRooms { user, .. } | Question::Present { user, .. } => has_user(user),
            Question::Full { users, .. } => users.iter().all(has_user),
            Question::Heads { rooms, .. } | Question::Large { rooms, .. } => rooms.iter().all(has_room),
            Question::Announce { .. } => true,
        }
    }

    /// Tells a user's home that they are here, and whoever asked that it knows.
    fn announce_and_tell(&mut self, place: Place, number: u64, user: UserId) {
        // This node's own home too: before it has taken the partition, others ask the one before about the user.
        let (asker, route) = (self.asker.clone(), self.node.route.clone());
        let question = Question::Present { user, node: route.me };
        self.start_answer(place, number, async move {
            match asker.ask_home(|| route.home_of_user(user), question).await {
                Answer::Known => Ok(Answer::Known),
                other => Err(other.failure()),
            }
        });
    }

    /// Starts what answers a question.
    fn start_answer(
        &mut self,
        place: Place,
        number: u64,
        answer: impl Future<Output = Result<Answer, String>> + 'static,
    ) {
        self.start(async move { Done::Tell(place, number, answer.await.unwrap_or_else(Answer::Failed)) });
    }

    /// From now on a shard gets the events of those of the rooms that are large, and hears where each stands now: what
    /// came before is for its sessions to ask for.
    fn send_large(
        &mut self,
        place: Place,
        user: UserId,
        rooms: Vec<RoomId>,
        sizes: &HashMap<RoomId, Size>,
    ) -> Answer {
        let mut large = Vec::new();
        for room in rooms {
            let size = self.home.size(room, user).or_else(|| sizes.get(&room).copied());
            if let Some(Size { is_large: true, head_seq: seq }) = size {
                self.note_interest(room, place, true);
                large.push(Head { room, seq });
            }
        }
        Answer::Large(large)
    }

    /// A new session's large rooms send it their events from now on. Where they stand it is told with a ping, so that it
    /// notices what happened between its asking and now.
    fn subscribed(&mut self, key: Key, mut heads: Vec<Head>) {
        let Some(session) = self.connections.get_mut(key).and_then(|connection| connection.session.as_mut())
        else {
            return;
        };
        let left = session.settle();
        heads.retain(|head| !left.contains(&head.room));
        for head in &mut heads {
            // Others here may have had more since that room's home was asked.
            head.seq = head.seq.max(self.local.head_seq(head.room));
            self.subscribe(head.room, key);
        }
        if !heads.is_empty() {
            self.tell_heads(key, heads);
        }
    }

    /// A session is told with a ping where rooms stand, so that it asks for what it does not have.
    pub(super) fn tell_heads(&mut self, key: Key, heads: Vec<Head>) {
        self.send_frame(key, &Frame::Ping { stamp: self.now_ms, heads });
    }
}

/// The answer to `rooms`.
pub(super) async fn room_list(
    asker: Asker,
    route: Route,
    asked: rooms::Rooms,
    to: Origin,
    now_ms: u64,
) -> Done {
    Done::Reply(to, Reply::Frame(rooms::list(asker, &route, asked, now_ms).await))
}

/// A request that makes users members: goes on to the room's home if all of them may have one more room.
pub(super) async fn with_space(
    asker: Asker,
    route: Route,
    request: Request<'static>,
    rooms_max: usize,
) -> Done {
    let mut users = match &request.frame {
        Frame::CreateRoom { members, .. } | Frame::AddMembers { members, .. } => members.clone(),
        _ => Vec::new(),
    };
    if matches!(request.frame, Frame::CreateRoom { .. }) {
        users.push(request.user);
    }
    let room = command::room_of(&request.frame).unwrap_or(RoomId::NIL);
    let refusal = match rooms::one_without_space(&asker, &route, room, &users, rooms_max).await {
        Ok(None) => return Done::Route(request),
        Ok(Some(user)) => Refusal::new(
            ErrorCode::LIMIT,
            format!("User {user} has {rooms_max} rooms, which is as many as a user may have."),
        ),
        Err(error) => {
            tracing::warn!(%error, "rooms of users could not be counted");
            Refusal::later(ErrorCode::UNAVAILABLE)
        }
    };
    let number = request.frame.request().unwrap_or(0);
    Done::Reply(request.from, Reply::Frame(refusal.frame(number)))
}

/// Which of a new session's rooms are large, so that it subscribes to them.
pub(super) async fn large_rooms(asker: Asker, route: Route, user: UserId, key: Key) -> Done {
    match try_large_rooms(&asker, &route, user).await {
        Ok(heads) => Done::Large(key, heads),
        Err(error) => {
            tracing::warn!(%user, %error, "a session's large rooms could not be read; that is tried again");
            Done::LargeUnknown(key, user)
        }
    }
}

async fn try_large_rooms(asker: &Asker, route: &Route, user: UserId) -> Result<Vec<Head>, String> {
    let all = rooms::all_of(asker, route, user).await?;
    let home_of = |room| route.home_of_room(room);
    let mut large = Vec::new();
    for answer in rooms::ask_all(asker, all, home_of, |rooms| Question::Large { user, rooms }).await {
        match answer {
            Answer::Large(heads) => large.extend(heads),
            other => return Err(other.failure()),
        }
    }
    Ok(large)
}
