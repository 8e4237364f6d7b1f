//! The client's side of the conversation, without a socket, a clock or chance: bytes and commands go in with the
//! time, bytes and updates come out. `connection.rs` does the I/O.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use carillon_protocol::frame::RoomPage;
use carillon_protocol::{CloseCode, Decoded, ErrorCode, Frame, RoomId, UserId, decode, encode};
use tokio::sync::oneshot;

use crate::backoff::{Random, wait_ms};
use crate::feed::Feed;
use crate::ordering::HELD_MAX;
use crate::requests::{Reply, Requests};
use crate::{ConnectionState, Error, Update};

mod ending;
mod frames;

/// How long a gateway may take to answer a hello.
const WELCOME_WAIT_MS: u64 = 10_000;
/// A session that lived so long was a good one: the next wait is short again.
const GOOD_SESSION_MS: u64 = 5_000;
/// How long after a refresh failed the next is tried.
const REFRESH_RETRY_MS: u64 = 5_000;
/// The largest frame a gateway may send.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Frames that may wait for a slow socket before what is only told (typing) is left out.
const TOLD_MAX: usize = 64;
/// Bytes written at a time, unless one frame is larger.
const WRITE_BYTES: usize = 16 * 1024;

/// What a session needs to know beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) device: String,
    pub(crate) agent: String,
    /// Whether a new token can be had; without, an expired one is the end.
    pub(crate) has_fresh_tokens: bool,
    pub(crate) connect_ms: u64,
    pub(crate) give_up_ms: u64,
    pub(crate) pending_max: usize,
    pub(crate) updates_max: usize,
    pub(crate) positions: HashMap<RoomId, u64>,
}

/// What the app wants.
#[derive(Debug)]
pub(crate) enum Command {
    /// Ask the gateway, until it answers.
    Request(Frame<'static>, Reply),
    /// Tell the gateway, if connected.
    Tell(Frame<'static>),
    /// Wait for what is under way, at most so long, and end.
    Close { wait_ms: u64 },
}

/// What the session wants of the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// None: not yet, or not any more.
    Nothing,
    /// A new one.
    Dial,
    /// The one there is.
    Link,
}

/// A client's session across all its connections.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Settings,
    random: Random,
    phase: Phase,
    attempts: u32,
    expired: u32,
    last_error: String,
    /// The error the gateway sent about the connection, until it closes.
    refusal: Option<(ErrorCode, String)>,
    me: Option<UserId>,
    ready: Option<(u64, oneshot::Sender<Result<UserId, Error>>)>,
    closing_ms: Option<u64>,
    cursor: u64,
    new_cursor: u64,
    number: u64,
    own: HashMap<u64, Own>,
    requests: Requests,
    feed: Feed,
    input: Vec<u8>,
    output: VecDeque<Vec<u8>>,
    wants_token: bool,
}

#[derive(Debug)]
enum Phase {
    Waiting { until_ms: u64 },
    Dialing,
    Greeting { until_ms: u64 },
    Open(Open),
    Over(Error),
}

/// Times of an open session.
#[derive(Debug)]
struct Open {
    since_ms: u64,
    silent_max_ms: u64,
    silent_until_ms: u64,
    leave_ms: Option<u64>,
    refresh_ms: Option<u64>,
    refresh_every_ms: u64,
    list_ms: Option<u64>,
}

/// Requests of the session's own.
#[derive(Debug)]
enum Own {
    Rooms,
    Sync(RoomId),
    Refresh,
}

impl Session {
    /// A session that wants to connect at once; `ready` hears when it did, or that it did not in time.
    pub(crate) fn new(
        mut settings: Settings,
        seed: u64,
        now_ms: u64,
        ready: oneshot::Sender<Result<UserId, Error>>,
    ) -> Self {
        let positions = std::mem::take(&mut settings.positions);
        Self {
            random: Random(seed),
            phase: Phase::Waiting { until_ms: now_ms },
            attempts: 0,
            expired: 0,
            last_error: "no attempt was made".into(),
            refusal: None,
            me: None,
            ready: Some((now_ms + settings.connect_ms, ready)),
            closing_ms: None,
            cursor: 0,
            new_cursor: 0,
            number: 0,
            own: HashMap::new(),
            requests: Requests::new(settings.pending_max, settings.give_up_ms),
            feed: Feed::new(settings.updates_max, positions),
            input: Vec::new(),
            output: VecDeque::new(),
            wants_token: false,
            settings,
        }
    }

    /// What the loop should do about the socket.
    pub(crate) fn want(&self, now_ms: u64) -> Want {
        match self.phase {
            Phase::Waiting { until_ms } if now_ms >= until_ms => Want::Dial,
            Phase::Waiting { .. } | Phase::Over(_) => Want::Nothing,
            Phase::Dialing | Phase::Greeting { .. } | Phase::Open(_) => Want::Link,
        }
    }

    /// Whether nothing more will happen.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// What an app may be shown.
    pub(crate) fn state(&self, now_ms: u64) -> ConnectionState {
        match &self.phase {
            Phase::Waiting { until_ms } => ConnectionState::Waiting {
                retry_in_ms: until_ms.saturating_sub(now_ms),
                reason: self.last_error.clone(),
            },
            Phase::Dialing | Phase::Greeting { .. } => ConnectionState::Connecting,
            Phase::Open(_) => ConnectionState::Open,
            Phase::Over(error) => ConnectionState::Closed(error.clone()),
        }
    }

    /// The next update for the app.
    pub(crate) fn next_update(&mut self) -> Option<Update> {
        self.feed.next_update()
    }

    /// Whether an update waits for the app.
    pub(crate) fn has_update(&self) -> bool {
        self.feed.has_update()
    }

    /// Nobody takes updates any more.
    pub(crate) fn mute(&mut self) {
        self.feed.mute();
    }

    /// Whether nobody takes updates any more.
    pub(crate) fn is_muted(&self) -> bool {
        self.feed.is_muted()
    }

    /// Whether the loop should fetch a fresh token now; asked once.
    pub(crate) fn takes_token(&mut self) -> bool {
        std::mem::take(&mut self.wants_token)
    }

    /// The next bytes to write: whole frames, or nothing.
    pub(crate) fn next_output(&mut self, now_ms: u64) -> Vec<u8> {
        let mut bytes = self.output.pop_front().unwrap_or_default();
        while let Some(next) = self.output.pop_front_if(|next| bytes.len() + next.len() <= WRITE_BYTES) {
            bytes.extend_from_slice(&next);
        }
        if matches!(self.phase, Phase::Open(_)) {
            while bytes.len() < WRITE_BYTES && self.output.is_empty() {
                let Some(frame) = self.requests.next_due(now_ms) else { break };
                encode(frame, &mut bytes);
            }
        }
        bytes
    }

    /// When [`Session::tick`] has something to do.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let is_open = matches!(self.phase, Phase::Open(_));
        let phase = match &self.phase {
            Phase::Waiting { until_ms } | Phase::Greeting { until_ms } => Some(*until_ms),
            Phase::Open(open) => open.deadline_ms(),
            Phase::Dialing | Phase::Over(_) => None,
        };
        let ready = self.ready.as_ref().map(|(until_ms, _)| *until_ms);
        let requests = self.requests.deadline_ms(is_open);
        let feed = self.feed.deadline_ms().filter(|_| is_open);
        phase.into_iter().chain(ready).chain(self.closing_ms).chain(requests).chain(feed).min()
    }

    /// The app wants something.
    pub(crate) fn command(&mut self, command: Command, now_ms: u64) {
        match command {
            Command::Request(frame, reply) => {
                if self.closing_ms.is_some() {
                    let _ = reply.send(Err(Error::Closed));
                    return;
                }
                let number = self.next_number();
                self.requests.add(number, frame, reply, now_ms);
            }
            Command::Tell(frame) => {
                if matches!(self.phase, Phase::Open(_)) && self.output.len() < TOLD_MAX {
                    self.write(&frame);
                }
            }
            Command::Close { wait_ms } => self.closing_ms = Some(now_ms + wait_ms),
        }
    }

    /// A socket is being made.
    pub(crate) fn dialing(&mut self) {
        self.phase = Phase::Dialing;
        self.attempts = self.attempts.saturating_add(1);
        self.refusal = None;
    }

    /// A socket is there, and a token to say hello with.
    pub(crate) fn connected(&mut self, token: String, now_ms: u64) {
        self.phase = Phase::Greeting { until_ms: now_ms + WELCOME_WAIT_MS };
        let hello = Frame::Hello {
            token: token.into(),
            device: self.settings.device.clone().into(),
            agent: Some(self.settings.agent.clone().into()),
        };
        self.write(&hello);
    }

    /// The socket is gone, or could not be made.
    pub(crate) fn disconnected(&mut self, code: Option<CloseCode>, reason: String, now_ms: u64) {
        if let Some(error) = self.final_error(code, &reason) {
            return self.end(error);
        }
        self.last_error = self.refusal.take().map_or(reason, |(_, message)| message);
        let leave_ms = match &self.phase {
            Phase::Open(open) => {
                if now_ms >= open.since_ms + GOOD_SESSION_MS {
                    self.attempts = 1;
                }
                open.leave_ms
            }
            _ => None,
        };
        let backed_off_ms = now_ms + wait_ms(self.attempts, &mut self.random);
        self.wait_until(leave_ms.unwrap_or(backed_off_ms));
    }

    /// A fresh token for the open session, or why there is none.
    pub(crate) fn token(&mut self, token: Result<String, String>, now_ms: u64) {
        let Phase::Open(open) = &mut self.phase else { return };
        match token {
            Ok(token) => {
                let request = self.next_number();
                self.own.insert(request, Own::Refresh);
                self.write(&Frame::Refresh { request, token: token.into() });
            }
            Err(_) => open.refresh_ms = Some(now_ms + REFRESH_RETRY_MS),
        }
    }

    /// Bytes from the gateway, cut anywhere.
    pub(crate) fn received(&mut self, bytes: &[u8], now_ms: u64) {
        if let Phase::Open(open) = &mut self.phase {
            open.silent_until_ms = now_ms + open.silent_max_ms;
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut start = 0;
        while matches!(self.phase, Phase::Greeting { .. } | Phase::Open(_)) {
            match decode(&input[start..], FRAME_BYTES_MAX) {
                Ok(Decoded::Frame { frame, used }) => {
                    start += used;
                    self.frame(frame, now_ms);
                }
                Ok(Decoded::Skipped { used }) => start += used,
                Ok(Decoded::Incomplete) => {
                    input.drain(..start);
                    self.input = input;
                    return;
                }
                Err(malformed) => {
                    return self.disconnected(
                        None,
                        format!("the gateway sent nonsense: {malformed}"),
                        now_ms,
                    );
                }
            }
        }
    }

    /// Does what is due. Called after everything else, too.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        if self.ready.as_ref().is_some_and(|(until_ms, _)| now_ms >= *until_ms) {
            let after = Duration::from_millis(self.settings.connect_ms);
            return self.end(Error::Unreachable { after, last: self.last_error.clone() });
        }
        self.requests.give_up(now_ms);
        if self.closing_ms.is_some_and(|until_ms| now_ms >= until_ms || self.requests.is_empty()) {
            return self.end(Error::Closed);
        }
        match &self.phase {
            Phase::Greeting { until_ms } if now_ms >= *until_ms => {
                self.disconnected(None, "no answer to hello".into(), now_ms);
            }
            Phase::Open(_) => self.tick_open(now_ms),
            _ => {}
        }
        self.settle(now_ms);
    }

    /// Ends the session for good; whoever waits is told why.
    pub(crate) fn end(&mut self, error: Error) {
        if let Some((_, ready)) = self.ready.take() {
            let _ = ready.send(Err(error.clone()));
        }
        self.requests.fail_all(&error);
        self.phase = Phase::Over(error);
    }

    fn tick_open(&mut self, now_ms: u64) {
        let Phase::Open(open) = &mut self.phase else { return };
        if now_ms >= open.silent_until_ms {
            return self.disconnected(None, "nothing was heard for too long".into(), now_ms);
        }
        if take_due(&mut open.leave_ms, now_ms) {
            self.last_error = "the node is leaving".into();
            self.attempts = 0;
            return self.wait_until(now_ms);
        }
        self.wants_token |= take_due(&mut open.refresh_ms, now_ms);
        if take_due(&mut open.list_ms, now_ms) {
            self.new_cursor = 0;
            self.list_rooms(None);
        }
    }

    fn settle(&mut self, now_ms: u64) {
        let Some(me) = self.me else { return };
        let may_ask = matches!(self.phase, Phase::Open(_));
        for (room, after_seq) in self.feed.settle(me, may_ask, now_ms) {
            let request = self.next_number();
            self.own.insert(request, Own::Sync(room));
            self.write(&Frame::Sync { request, room, after_seq, limit: HELD_MAX as u64 });
        }
    }

    fn list_rooms(&mut self, page: Option<RoomPage>) {
        let request = self.next_number();
        self.own.insert(request, Own::Rooms);
        self.write(&Frame::Rooms { request, changed_since: self.cursor, limit: 0, page });
    }

    fn wait_until(&mut self, until_ms: u64) {
        self.phase = Phase::Waiting { until_ms };
        self.own.clear();
        self.new_cursor = 0;
        self.input.clear();
        self.output.clear();
        self.requests.disconnected();
        self.feed.disconnected();
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn write(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        self.output.push_back(bytes);
    }
}

impl Open {
    fn deadline_ms(&self) -> Option<u64> {
        let times = [self.leave_ms, self.refresh_ms, self.list_ms, Some(self.silent_until_ms)];
        times.into_iter().flatten().min()
    }
}

fn take_due(at_ms: &mut Option<u64>, now_ms: u64) -> bool {
    at_ms.take_if(|at_ms| now_ms >= *at_ms).is_some()
}

#[cfg(test)]
mod tests;
