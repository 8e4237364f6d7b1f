//! A gateway in memory, just large enough to talk to, that misbehaves on demand. A token is the user's number.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use carillon_protocol::frame::{Head, Member, RoomEntry};
use carillon_protocol::{Decoded, Frame, SUBPROTOCOL_BINARY, decode, encode};
use carillon_sdk::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// What goes wrong.
#[derive(Default)]
pub struct Faults {
    /// So many sends are taken, and the connection lost before the answer.
    pub lost_acks: u32,
    /// So many sends are answered with "busy".
    pub busy: u32,
    /// Live events are lost, doubled and swapped, and connections cut.
    pub chaos: bool,
    /// Every hello is refused so.
    pub refusal: Option<(ErrorCode, CloseCode)>,
    /// Nothing is answered.
    pub is_deaf: bool,
}

#[derive(Default)]
pub struct State {
    pub faults: Faults,
    pub events: HashMap<RoomId, Vec<Event<'static>>>,
    pub hellos: u32,
    pub syncs: u32,
    members: HashMap<RoomId, BTreeSet<UserId>>,
    sent: HashMap<(RoomId, UserId, ClientId), u64>,
    sessions: Vec<Session>,
}

struct Session {
    user: UserId,
    out: mpsc::UnboundedSender<Out>,
    held: Option<Event<'static>>,
}

#[derive(Clone)]
enum Out {
    Bytes(Vec<u8>),
    Close(CloseCode),
}

pub struct Gateway {
    pub websocket_url: String,
    pub tcp_url: String,
    state: Arc<Mutex<State>>,
}

pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("a user's number")
}

/// The next event's seq and text, passing over everything else.
pub async fn next_message(updates: &mut Updates) -> (u64, String) {
    loop {
        let update = updates.next().await.expect("the client lives");
        if let Update::Event(Event { seq, body: EventBody::Message { text, .. }, .. }) = update {
            return (seq, text.into_owned());
        }
    }
}

impl Gateway {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let websocket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let websocket_url = format!("ws://{}/v1/ws", websocket.local_addr().expect("an address"));
        let tcp_url = format!("tcp://{}", tcp.local_addr().expect("an address"));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = websocket.accept().await {
                let _ = socket.set_nodelay(true);
                tokio::spawn(serve_websocket(socket, Arc::clone(&shared)));
            }
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = tcp.accept().await {
                let _ = socket.set_nodelay(true);
                tokio::spawn(serve_tcp(socket, Arc::clone(&shared)));
            }
        });
        Self { websocket_url, tcp_url, state }
    }

    pub async fn connect(&self, number: u64) -> (Client, Updates) {
        let client = Client::builder(&self.websocket_url).token(number.to_string());
        client.connect().await.expect("a session")
    }

    pub async fn state(&self) -> tokio::sync::MutexGuard<'_, State> {
        self.state.lock().await
    }

    /// Pings everyone, with every room's head.
    pub async fn ping(&self) {
        let mut state = self.state().await;
        let heads = state.events.iter().map(|(&room, events)| Head { room, seq: events.len() as u64 });
        let ping = Frame::Ping { stamp: 1, heads: heads.collect() };
        state.sessions.iter_mut().for_each(|session| session.write(&ping));
    }

    pub async fn tell_all(&self, frame: &Frame<'_>) {
        self.state().await.sessions.iter_mut().for_each(|session| session.write(frame));
    }

    /// Ends every connection.
    pub async fn cut(&self, code: CloseCode) {
        for session in self.state().await.sessions.drain(..) {
            let _ = session.out.send(Out::Close(code));
        }
    }
}

impl Session {
    fn write(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        let _ = self.out.send(Out::Bytes(bytes));
    }

    fn deliver(&mut self, event: &Event<'static>, chaos: bool) {
        let seq = event.seq;
        if chaos && seq % 7 == 3 {
            return;
        }
        if chaos && seq % 4 == 1 {
            self.held = Some(event.clone());
            return;
        }
        self.write(&Frame::Event(event.clone()));
        if chaos && seq % 5 == 2 {
            self.write(&Frame::Event(event.clone()));
        }
        if let Some(held) = self.held.take() {
            self.write(&Frame::Event(held));
        }
        if chaos && seq.is_multiple_of(50) {
            let _ = self.out.send(Out::Close(CloseCode::SLOW));
        }
    }
}

impl State {
    /// What a frame is answered with, if at all.
    fn frame(&mut self, me: UserId, frame: Frame<'static>) -> Option<Out> {
        let request = frame.request().unwrap_or(0);
        if self.faults.is_deaf {
            return None;
        }
        if matches!(frame, Frame::Send { .. }) && take_one(&mut self.faults.busy) {
            return Some(error(request, ErrorCode::BUSY));
        }
        match frame {
            Frame::CreateRoom { room, name, members, .. } => {
                if !self.events.contains_key(&room) {
                    self.members.insert(room, members.iter().copied().chain([me]).collect());
                    self.append(room, me, EventBody::RoomCreated { name, members });
                }
                Some(ack(request, 1))
            }
            Frame::Send { room, client_id, text, .. } => {
                if !self.is_member(room, me) {
                    return Some(error(request, ErrorCode::NOT_A_MEMBER));
                }
                let seq = match self.sent.get(&(room, me, client_id)) {
                    Some(&seq) => seq,
                    None => self.append(room, me, EventBody::Message { client_id, text }),
                };
                self.sent.insert((room, me, client_id), seq);
                let is_lost = take_one(&mut self.faults.lost_acks);
                Some(if is_lost { Out::Close(CloseCode::SLOW) } else { ack(request, seq) })
            }
            Frame::Sync { room, after_seq, limit, .. } => {
                self.syncs += 1;
                Some(self.page((room, me), request, limit, |event| event.seq > after_seq))
            }
            Frame::History { room, from_seq, limit, at_ms, .. } => {
                let is_wanted = |event: &Event<'_>| match at_ms {
                    Some(at_ms) => event.at_ms >= at_ms,
                    None => event.seq >= from_seq,
                };
                Some(self.page((room, me), request, limit, is_wanted))
            }
            Frame::Rooms { .. } => {
                let mine = self.members.iter().filter(|(_, members)| members.contains(&me));
                let rooms = mine.map(|(&room, _)| entry(room, self.events[&room].len() as u64)).collect();
                Some(out(&Frame::RoomList { request, cursor: 1, rooms, next: None }))
            }
            Frame::Members { room, .. } => {
                let of_room = self.members.get(&room)?.iter();
                let members = of_room.map(|&user| Member { user, role: Role::Member, read_seq: 0 }).collect();
                Some(out(&Frame::MemberList { request, room, members, more: false }))
            }
            Frame::AddMembers { room, members, .. } => {
                self.members.get_mut(&room)?.extend(members.iter().copied());
                Some(ack(request, self.append(room, me, EventBody::MembersAdded { members })))
            }
            Frame::RemoveMember { room, user, .. } => {
                let seq = self.append(room, me, EventBody::MemberRemoved { user });
                self.members.get_mut(&room)?.remove(&user);
                Some(ack(request, seq))
            }
            Frame::Leave { room, .. } => {
                let seq = self.append(room, me, EventBody::MemberLeft);
                self.members.get_mut(&room)?.remove(&me);
                Some(ack(request, seq))
            }
            Frame::MarkRead { room, seq, .. } => {
                self.tell(room, &Frame::Read { room, user: me, seq, unread: None });
                Some(ack(request, seq))
            }
            Frame::Typing { room, active, .. } => {
                self.tell(room, &Frame::Typing { room, active, user: Some(me) });
                None
            }
            _ => None,
        }
    }

    /// A member's page of those events of a room.
    fn page(
        &self,
        (room, user): (RoomId, UserId),
        request: u64,
        limit: u64,
        is_wanted: impl Fn(&Event<'_>) -> bool,
    ) -> Out {
        if !self.is_member(room, user) {
            return error(request, ErrorCode::NOT_A_MEMBER);
        }
        let all = &self.events[&room];
        let events = all.iter().filter(|event| is_wanted(event)).take(limit.clamp(1, 100) as usize);
        out(&Frame::Events { request, room, head_seq: all.len() as u64, events: events.cloned().collect() })
    }

    fn is_member(&self, room: RoomId, user: UserId) -> bool {
        self.members.get(&room).is_some_and(|members| members.contains(&user))
    }

    fn append(&mut self, room: RoomId, sender: UserId, body: EventBody<'static>) -> u64 {
        let events = self.events.entry(room).or_default();
        let seq = events.len() as u64 + 1;
        let event = Event { room, seq, ordinal: seq, at_ms: 1, sender, body };
        events.push(event.clone());
        let chaos = self.faults.chaos;
        let members = &self.members[&room];
        let sessions = self.sessions.iter_mut().filter(|session| members.contains(&session.user));
        sessions.for_each(|session| session.deliver(&event, chaos));
        seq
    }

    fn tell(&mut self, room: RoomId, frame: &Frame<'_>) {
        let members = &self.members[&room];
        let sessions = self.sessions.iter_mut().filter(|session| members.contains(&session.user));
        sessions.for_each(|session| session.write(frame));
    }
}

fn take_one(count: &mut u32) -> bool {
    let had = *count > 0;
    *count = count.saturating_sub(1);
    had
}

fn out(frame: &Frame<'_>) -> Out {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes);
    Out::Bytes(bytes)
}

fn ack(request: u64, seq: u64) -> Out {
    out(&Frame::Ack { request, seq, ordinal: seq, at_ms: 1 })
}

fn error(request: u64, code: ErrorCode) -> Out {
    out(&Frame::Error { request, code, message: code.sentence().into(), retry_after_ms: None })
}

fn entry(room: RoomId, head_seq: u64) -> RoomEntry<'static> {
    RoomEntry {
        room,
        name: "".into(),
        active_ms: 1,
        head_seq,
        head_ordinal: head_seq,
        read_seq: 0,
        unread: 0,
        member_count: 1,
        preview_sender: None,
        preview: "".into(),
    }
}

/// One connection, whatever carries its bytes.
async fn converse(
    state: Arc<Mutex<State>>,
    mut input: mpsc::UnboundedReceiver<Vec<u8>>,
    out: mpsc::UnboundedSender<Out>,
) {
    let mut bytes = Vec::new();
    let mut me = None;
    while let Some(more) = input.recv().await {
        bytes.extend_from_slice(&more);
        let mut state = state.lock().await;
        while let Ok(Decoded::Frame { frame, used }) = decode(&bytes, 1 << 20) {
            let frame = frame.into_owned();
            bytes.drain(..used);
            let answer = match (me, &frame) {
                (None, Frame::Hello { token, .. }) => {
                    let (user, answer) = hello(&mut state, token, &out);
                    me = user;
                    answer
                }
                (Some(me), _) => state.frame(me, frame),
                _ => Some(Out::Close(CloseCode::UNEXPECTED)),
            };
            if let Some(answer) = answer {
                let _ = out.send(answer);
            }
        }
    }
}

fn hello(state: &mut State, token: &str, out: &mpsc::UnboundedSender<Out>) -> (Option<UserId>, Option<Out>) {
    state.hellos += 1;
    if let Some((code, close)) = state.faults.refusal {
        let _ = out.send(error(0, code));
        return (None, Some(Out::Close(close)));
    }
    let user = user(token.parse().expect("a token of these tests is a number"));
    state.sessions.push(Session { user, out: out.clone(), held: None });
    let welcome = Frame::Welcome {
        user,
        now_ms: 1,
        ping_interval_ms: 25_000,
        frame_bytes_max: 65_536,
        text_bytes_max: 16_384,
        expires_ms: 3_600_000,
    };
    (Some(user), Some(self::out(&welcome)))
}

#[allow(clippy::result_large_err, reason = "the handshake's callback is defined so")]
async fn serve_websocket(socket: TcpStream, state: Arc<Mutex<State>>) {
    let accept = |_: &Request, mut response: Response| {
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", SUBPROTOCOL_BINARY.parse().expect("a header"));
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(socket, accept).await else { return };
    let (mut sink, mut stream) = socket.split();
    let (input, input_out) = mpsc::unbounded_channel();
    let (out, mut outgoing) = mpsc::unbounded_channel();
    tokio::spawn(converse(state, input_out, out));
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Binary(bytes))) => drop(input.send(bytes.to_vec())),
                Some(Ok(_)) => {}
                _ => return,
            },
            Some(out) = outgoing.recv() => match out {
                Out::Bytes(bytes) => drop(sink.send(Message::binary(bytes)).await),
                Out::Close(code) => {
                    let frame = CloseFrame { code: code.0.into(), reason: code.sentence().into() };
                    let _ = sink.send(Message::Close(Some(frame))).await;
                    return;
                }
            },
        }
    }
}

async fn serve_tcp(mut socket: TcpStream, state: Arc<Mutex<State>>) {
    let (input, input_out) = mpsc::unbounded_channel();
    let (out, mut outgoing) = mpsc::unbounded_channel();
    tokio::spawn(converse(state, input_out, out));
    let mut space = [0; 4096];
    loop {
        tokio::select! {
            read = socket.read(&mut space) => match read {
                Ok(count) if count > 0 => drop(input.send(space[..count].to_vec())),
                _ => return,
            },
            Some(out) = outgoing.recv() => match out {
                Out::Bytes(bytes) => drop(socket.write_all(&bytes).await),
                Out::Close(_) => return,
            },
        }
    }
}
