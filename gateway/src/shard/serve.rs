//! What a session says: answered here, or handed to the home that decides.

use carillon_protocol::layout::Direction;
use carillon_protocol::{CloseCode, ErrorCode, Frame, UserId};

use super::Shard;
use super::message::{Message, Origin, Request};
use super::tasks;
use crate::command::{self, Refusal};
use crate::connections::Key;
use crate::session::Session;

/// Requests that ask other shards or the store, under way at once in a shard; a further one is told to come back.
const TASKS_MAX: usize = 4096;
/// The longest name of a device, in bytes.
const DEVICE_BYTES_MAX: usize = 64;

impl Shard {
    /// A frame came. Before `hello`, only that is listened to.
    pub(super) fn frame(&mut self, key: Key, frame: Frame<'_>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.heard = self.ticks.count;
        let user = connection.session.as_ref().map(|session| session.user);
        self.stats().frames.add(1);
        match (user, frame) {
            (None, Frame::Hello { token, device, .. }) => self.hello(key, &token, &device),
            (None, _) => {
                self.refuse_and_close(key, ErrorCode::UNEXPECTED, CloseCode::UNEXPECTED, "Say hello first.")
            }
            (Some(_), Frame::Hello { .. }) => {
                self.refuse_and_close(
                    key,
                    ErrorCode::UNEXPECTED,
                    CloseCode::UNEXPECTED,
                    "Hello was said already.",
                );
            }
            (Some(_), Frame::Ping { stamp, .. }) => self.send_frame(key, &Frame::Pong { stamp }),
            (Some(_), Frame::Pong { .. }) => {}
            (Some(_), frame) if frame.kind().direction() == Direction::ToClient => {
                let what = "Only the gateway sends that frame.";
                self.refuse_and_close(key, ErrorCode::UNEXPECTED, CloseCode::UNEXPECTED, what);
            }
            (Some(_), frame) if frame.request() == Some(0) => {
                let what = "A request number may not be 0: answers could not be told apart.";
                self.refuse_and_close(key, ErrorCode::INVALID, CloseCode::UNEXPECTED, what);
            }
            (Some(_), frame) if let Some(retry_after_ms) = self.is_too_fast(key) => {
                self.refuse(key, &frame, Refusal::too_fast(retry_after_ms));
            }
            (Some(user), Frame::Refresh { request, token }) => self.refresh(key, user, request, &token),
            (Some(user), frame) => self.request(key, user, frame),
        }
    }

    /// Counts a request; where there are too many in this second, says in how many milliseconds the next begins.
    fn is_too_fast(&mut self, key: Key) -> Option<u64> {
        let session = self.connections.get_mut(key)?.session.as_mut()?;
        let is_too_fast =
            session.count_request(self.now_ms / 1000) > self.node.config.requests_per_second_max;
        is_too_fast.then_some(1000 - self.now_ms % 1000)
    }

    /// A request of a session: checked here, decided where its room lives.
    fn request(&mut self, key: Key, user: UserId, frame: Frame<'_>) {
        if let Err(refusal) = self.admissible(&frame) {
            return self.refuse(key, &frame, refusal);
        }
        if self.tasks.len() >= TASKS_MAX && !command::is_decided_at_once(&frame) {
            return self.refuse(key, &frame, Refusal::later(ErrorCode::BUSY));
        }
        let Some(owed_bytes) = self.owe(key, &frame) else {
            return self.refuse(key, &frame, Refusal::later(ErrorCode::BUSY));
        };
        let from = Origin { place: self.place(), ticket: 0, connection: key, owed_bytes };
        match frame {
            Frame::Rooms { request, changed_since, limit, page } => {
                let asked = command::rooms::Rooms { request, user, changed_since, limit, page };
                self.start(tasks::room_list(
                    self.asker.clone(),
                    self.node.route.clone(),
                    asked,
                    from,
                    self.now_ms,
                ));
            }
            // Who joins must have space for one more room, which only their homes know.
            Frame::CreateRoom { .. } | Frame::AddMembers { .. } => {
                let request = Request { from, user, frame: frame.into_owned() };
                let rooms_max = self.node.config.rooms_per_user_max;
                self.start(tasks::with_space(
                    self.asker.clone(),
                    self.node.route.clone(),
                    request,
                    rooms_max,
                ));
            }
            frame => self.route(Request { from, user, frame }),
        }
    }

    /// Reckons a request's answer among what waits for its connection, and says how much that is. A client that asks for
    /// more than its outbox holds is not read on (`Shard::readable`); what it had said already, in one message, is refused.
    fn owe(&mut self, key: Key, frame: &Frame<'_>) -> Option<u32> {
        let bytes_max = self.node.config.outbox_bytes_max;
        let connection = self.connections.get_mut(key)?;
        let bytes = command::answer_bytes(frame, &self.node.config);
        // A single answer may be larger than the outbox: there is no other way to get it.
        if connection.owed_bytes > 0 && connection.waiting_bytes() + bytes as usize > bytes_max {
            return None;
        }
        connection.owed_bytes += bytes;
        Some(bytes)
    }

    /// Mine: call. Another shard's, of this node or of another: one message.
    pub(super) fn route(&mut self, request: Request<'_>) {
        let Some(room) = command::room_of(&request.frame) else { return };
        let partition = self.node.route.partition_of_room(room);
        let home = self.node.route.home_of(partition);
        if self.is_waiting_for(partition) {
            self.wait_for_home(partition, request.into_owned());
        } else if self.node.route.is_here(home) {
            self.request_here(home.shard, request);
        } else {
            self.request_away(home, partition, request.into_owned());
        }
    }

    /// A request whose home is a shard of this node.
    pub(super) fn request_here(&mut self, shard: u16, request: Request<'_>) {
        if shard == self.me {
            self.home_request(request);
        } else {
            self.outgoing.push_here(shard, Message::Request(request.into_owned()));
        }
    }

    fn admissible(&self, frame: &Frame<'_>) -> Result<(), Refusal> {
        if self.drain.has_begun() {
            return Err(Refusal::later(ErrorCode::DRAINING));
        }
        command::check(frame, &self.node.config)
    }

    fn refuse(&mut self, key: Key, frame: &Frame<'_>, refusal: Refusal) {
        self.stats().refusals.add(1);
        // What is never answered (typing) is not answered with an error either; what has no number concerns the connection.
        if !matches!(frame, Frame::Typing { .. }) {
            self.send_frame(key, &refusal.frame(frame.request().unwrap_or(0)));
        }
    }

    /// Says what was wrong, and ends the connection.
    pub(super) fn refuse_and_close(&mut self, key: Key, error: ErrorCode, close: CloseCode, message: &str) {
        self.stats().refusals.add(1);
        self.send_frame(key, &Refusal::new(error, message.to_owned()).frame(0));
        self.close(key, close, message);
    }

    /// `hello`: opens the session, or says why not.
    fn hello(&mut self, key: Key, token: &str, device: &str) {
        if device.is_empty() || device.len() > DEVICE_BYTES_MAX {
            let message = "A device has a name of 1 to 64 bytes.";
            return self.refuse_and_close(key, ErrorCode::INVALID, CloseCode::UNEXPECTED, message);
        }
        match self.node.keys.verify(token, self.now_ms / 1000) {
            Ok(claims) => self.open(key, claims.user, device, claims.expires_s),
            Err(refusal) => self.refuse_token(key, &refusal),
        }
    }

    fn open(&mut self, key: Key, user: UserId, device: &str, expires_s: u64) {
        let at_ms = self.now_ms;
        self.replace(user, device, at_ms, Some(key));
        for shard in self.node.directory.shards_of_user(user).without(self.me).iter() {
            self.outgoing.push_here(shard, Message::Replaced { user, device: device.into(), at_ms });
        }
        self.tell_elsewhere(&[user], |_| Message::Replaced { user, device: device.into(), at_ms });
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.session = Some(Box::new(Session::new(user, device, expires_s, at_ms)));
        if self.local.arrive(user, key) {
            self.node.directory.arrive(user, self.me);
        }
        self.stats().sessions.add(1);
        if self.node.route.is_in_cluster() {
            self.begin_session(key, user);
        } else {
            self.welcome(key);
        }
    }

    /// The session's user is known to be here: it begins.
    pub(super) fn welcome(&mut self, key: Key) {
        let session = self.connections.get(key).and_then(|connection| connection.session.as_ref());
        let Some((user, expires_s)) = session.map(|session| (session.user, session.expires_s)) else {
            return;
        };
        let config = &self.node.config;
        let welcome = Frame::Welcome {
            user,
            now_ms: self.now_ms,
            ping_interval_ms: config.ping_interval_ms,
            frame_bytes_max: config.frame_bytes_max as u64,
            text_bytes_max: config.text_bytes_max as u64,
            expires_ms: expires_s.saturating_mul(1000),
        };
        self.send_frame(key, &welcome);
        self.arrivals.push_back((key, user));
    }

    /// `refresh`: the session goes on with a fresh token.
    fn refresh(&mut self, key: Key, user: UserId, request: u64, token: &str) {
        match self.node.keys.verify(token, self.now_ms / 1000) {
            Ok(claims) if claims.user == user => {
                if let Some(session) = self.connections.get_mut(key).and_then(|it| it.session.as_mut()) {
                    session.expires_s = claims.expires_s;
                }
                self.send_frame(key, &Frame::Ack { request, seq: 0, ordinal: 0, at_ms: 0 });
            }
            Ok(_) => {
                let refusal = Refusal::new(ErrorCode::TOKEN_INVALID, "The token is another user's.");
                self.send_frame(key, &refusal.frame(request));
            }
            Err(refusal) => {
                let refusal = Refusal::new(refusal.error_code(), refusal.to_string());
                self.send_frame(key, &refusal.frame(request));
            }
        }
    }

    fn refuse_token(&mut self, key: Key, refusal: &crate::auth::Refusal) {
        self.refuse_and_close(key, refusal.error_code(), refusal.close_code(), &refusal.to_string());
    }

    /// Older sessions of this device here end, since it has a new one, from `at_ms` on.
    pub(super) fn replace(&mut self, user: UserId, device: &str, at_ms: u64, new: Option<Key>) {
        for key in self.local.of_user(user).to_vec() {
            let session = self.connections.get(key).and_then(|connection| connection.session.as_ref());
            if Some(key) != new
                && session.is_some_and(|session| *session.device == *device && session.began_ms <= at_ms)
            {
                self.close(key, CloseCode::REPLACED, CloseCode::REPLACED.sentence());
            }
        }
    }
}
