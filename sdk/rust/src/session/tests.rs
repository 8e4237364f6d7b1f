use super::*;

use carillon_protocol::{ClientId, Event, EventBody};

const ROOM: RoomId = RoomId::from_bytes([7; 16]);

struct Conversation {
    session: Session,
    ready: oneshot::Receiver<Result<UserId, Error>>,
}

impl Conversation {
    fn new(has_fresh_tokens: bool) -> Self {
        let settings = Settings {
            device: "test".into(),
            agent: "test".into(),
            has_fresh_tokens,
            connect_ms: 10_000,
            give_up_ms: 60_000,
            pending_max: 10,
            updates_max: 100,
            positions: HashMap::new(),
        };
        let (sender, ready) = oneshot::channel();
        Self { session: Session::new(settings, 1, 0, sender), ready }
    }

    /// A session whose welcome came and whose room stands at seq 5.
    fn open() -> Self {
        let mut conversation = Self::new(false);
        conversation.greet(0);
        let list = conversation.said(0);
        conversation.list(&list, 5, 0);
        conversation
    }

    fn dial(&mut self, now_ms: u64) {
        assert_eq!(self.session.want(now_ms), Want::Dial);
        self.session.dialing();
        self.session.connected("token".into(), now_ms);
    }

    fn greet(&mut self, now_ms: u64) {
        self.dial(now_ms);
        assert!(matches!(self.said(now_ms)[..], [Frame::Hello { .. }]));
        self.hear(&welcome(), now_ms);
    }

    fn list(&mut self, said: &[Frame<'static>], head_seq: u64, now_ms: u64) {
        let [Frame::Rooms { request, .. }, ..] = said else { panic!("{said:?}") };
        let entry = carillon_protocol::frame::RoomEntry {
            room: ROOM,
            name: "".into(),
            active_ms: 1,
            head_seq,
            head_ordinal: 0,
            read_seq: 0,
            unread: 0,
            member_count: 1,
            preview_sender: None,
            preview: "".into(),
        };
        self.hear(&Frame::RoomList { request: *request, cursor: 77, rooms: vec![entry], next: None }, now_ms);
    }

    fn hear(&mut self, frame: &Frame<'_>, now_ms: u64) {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        self.session.received(&bytes, now_ms);
        self.session.tick(now_ms);
    }

    fn said(&mut self, now_ms: u64) -> Vec<Frame<'static>> {
        let bytes = self.session.next_output(now_ms);
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while let Ok(Decoded::Frame { frame, used }) = decode(rest, FRAME_BYTES_MAX) {
            frames.push(frame.into_owned());
            rest = &rest[used..];
        }
        frames
    }

    fn send(&mut self, now_ms: u64) -> oneshot::Receiver<Result<Frame<'static>, Error>> {
        let (reply, answer) = oneshot::channel();
        let client_id = ClientId::from_bytes([9; 16]);
        let send = Frame::Send { request: 0, room: ROOM, client_id, text: "hi".into() };
        self.session.command(Command::Request(send, reply), now_ms);
        answer
    }

    /// Loses the connection, and returns when the next is due.
    fn lose(&mut self, code: Option<CloseCode>, now_ms: u64) -> Option<u64> {
        self.session.disconnected(code, "lost".into(), now_ms);
        match self.session.phase {
            Phase::Waiting { until_ms } => Some(until_ms),
            _ => None,
        }
    }
}

fn welcome() -> Frame<'static> {
    Frame::Welcome {
        user: UserId::new(1).unwrap(),
        now_ms: 1_000_000,
        ping_interval_ms: 25_000,
        frame_bytes_max: 65_536,
        text_bytes_max: 16_384,
        expires_ms: 1_100_000,
    }
}

fn event(seq: u64) -> Event<'static> {
    let sender = UserId::new(2).unwrap();
    Event { room: ROOM, seq, ordinal: 0, at_ms: 0, sender, body: EventBody::Unknown { number: 99 } }
}

#[test]
fn connecting_is_done_when_the_rooms_are_known() {
    let mut conversation = Conversation::new(false);
    conversation.greet(0);
    let list = conversation.said(0);
    assert!(conversation.ready.try_recv().is_err());
    conversation.list(&list, 5, 0);
    assert_eq!(conversation.ready.try_recv().unwrap().unwrap(), UserId::new(1).unwrap());
}

#[test]
fn a_lost_connection_is_made_again_and_everything_goes_on() {
    let mut conversation = Conversation::open();
    let mut answer = conversation.send(100);
    let before = conversation.said(100);
    assert!(matches!(before[..], [Frame::Send { .. }]));
    let again_ms = conversation.lose(None, 200).unwrap();
    assert!((200 + 100..=200 + 200).contains(&again_ms), "{again_ms}");
    assert_eq!(conversation.session.want(again_ms - 1), Want::Nothing);
    conversation.greet(again_ms);
    let said = conversation.said(again_ms);
    assert!(matches!(said[0], Frame::Rooms { changed_since: 77, .. }), "{said:?}");
    assert_eq!(said[1..], before[..], "the same send under the same client id");
    conversation.list(&said, 8, again_ms);
    let said = conversation.said(again_ms);
    let [Frame::Sync { request, after_seq: 5, .. }] = said[..] else { panic!("{said:?}") };
    let events = vec![event(6), event(7), event(8)];
    conversation.hear(&Frame::Events { request, room: ROOM, head_seq: 8, events }, again_ms);
    assert_eq!(std::iter::from_fn(|| conversation.session.next_update()).count(), 3);
    let request = before[0].request().unwrap();
    conversation.hear(&Frame::Ack { request, seq: 8, ordinal: 3, at_ms: 9 }, again_ms);
    assert!(answer.try_recv().unwrap().is_ok());
}

#[test]
fn bytes_may_be_cut_anywhere() {
    let mut bytes = Vec::new();
    (6..9).for_each(|seq| encode(&Frame::Event(event(seq)), &mut bytes));
    for cut in 0..bytes.len() {
        let mut conversation = Conversation::open();
        let (before, after) = bytes.split_at(cut);
        conversation.session.received(before, 0);
        conversation.session.received(after, 0);
        conversation.session.tick(0);
        assert_eq!(std::iter::from_fn(|| conversation.session.next_update()).count(), 3, "cut at {cut}");
    }
}

#[test]
fn nonsense_from_the_gateway_costs_the_connection_only() {
    let mut conversation = Conversation::open();
    conversation.session.received(&[0xff; 64], 0);
    assert!(matches!(conversation.session.phase, Phase::Waiting { .. }));
}

#[test]
fn pings_are_answered() {
    let mut conversation = Conversation::open();
    conversation.hear(&Frame::Ping { stamp: 5, heads: vec![] }, 0);
    assert_eq!(conversation.said(0), [Frame::Pong { stamp: 5 }]);
}

#[test]
fn silence_for_two_ping_intervals_is_a_lost_connection() {
    let mut conversation = Conversation::open();
    conversation.session.tick(49_999);
    assert_eq!(conversation.session.want(49_999), Want::Link);
    conversation.session.tick(50_000);
    assert_eq!(conversation.session.want(50_000), Want::Nothing);
}

#[test]
fn a_node_that_leaves_is_left_when_it_says() {
    let mut conversation = Conversation::open();
    conversation.hear(&Frame::GoAway { reconnect_after_ms: 500, jitter_ms: 100 }, 0);
    conversation.session.tick(499);
    assert_eq!(conversation.session.want(499), Want::Link);
    conversation.session.tick(600);
    assert_eq!(conversation.session.want(600), Want::Dial);
}

#[test]
fn a_node_that_closes_after_saying_when_to_come_back_is_not_come_back_to_sooner() {
    let mut conversation = Conversation::open();
    conversation.hear(&Frame::GoAway { reconnect_after_ms: 5_000, jitter_ms: 0 }, 0);
    assert_eq!(conversation.lose(Some(CloseCode::GO_AWAY), 10), Some(5_000));
}

#[test]
fn waits_grow_while_sessions_are_short_and_shrink_after_a_good_one() {
    let mut conversation = Conversation::open();
    let mut now_ms = 0;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let again_ms = conversation.lose(None, now_ms).unwrap();
        waits.push(again_ms - now_ms);
        now_ms = again_ms;
        conversation.greet(now_ms);
        conversation.said(now_ms);
    }
    assert!(waits[4] >= 1_600, "{waits:?}");
    now_ms += GOOD_SESSION_MS;
    assert!(conversation.lose(None, now_ms).unwrap() <= now_ms + 200);
}

#[test]
fn closes_that_say_do_not_come_back_are_obeyed() {
    for (code, comes_back) in [
        (CloseCode::IDLE, true),
        (CloseCode::SLOW, true),
        (CloseCode::OVERLOADED, true),
        (CloseCode(1006), true),
        (CloseCode::REPLACED, false),
        (CloseCode::MALFORMED, false),
        (CloseCode::UNAUTHORIZED, false),
        (CloseCode::TOKEN_EXPIRED, false),
    ] {
        let mut conversation = Conversation::open();
        let mut answer = conversation.send(0);
        assert_eq!(conversation.lose(Some(code), 0).is_some(), comes_back, "{code:?}");
        assert_eq!(answer.try_recv().is_ok(), !comes_back, "{code:?}");
    }
}

#[test]
fn an_expired_token_is_replaced_where_there_are_fresh_ones_but_not_for_ever() {
    let mut conversation = Conversation::new(true);
    let mut now_ms = 0;
    for _ in 0..3 {
        conversation.dial(now_ms);
        conversation.hear(&expired(), now_ms);
        now_ms = conversation.lose(Some(CloseCode::TOKEN_EXPIRED), now_ms).unwrap();
    }
    conversation.dial(now_ms);
    conversation.hear(&expired(), now_ms);
    assert_eq!(conversation.lose(Some(CloseCode::TOKEN_EXPIRED), now_ms), None);
    assert!(matches!(conversation.ready.try_recv(), Ok(Err(Error::Ended { .. }))));
}

fn expired() -> Frame<'static> {
    let message = "expired".into();
    Frame::Error { request: 0, code: ErrorCode::TOKEN_EXPIRED, message, retry_after_ms: None }
}

#[test]
fn a_token_is_refreshed_before_it_runs_out() {
    let mut conversation = Conversation::new(true);
    conversation.greet(0);
    let list = conversation.said(0);
    conversation.list(&list, 5, 0);
    conversation.hear(&Frame::Pong { stamp: 0 }, 40_000);
    assert!(!conversation.session.takes_token());
    conversation.hear(&Frame::Pong { stamp: 0 }, 80_000);
    assert!(conversation.session.takes_token() && !conversation.session.takes_token());
    conversation.session.token(Ok("fresh".into()), 80_001);
    assert!(matches!(&conversation.said(80_001)[..], [Frame::Refresh { token, .. }] if token == "fresh"));
}

#[test]
fn a_gateway_that_never_answers_is_unreachable_after_the_time_for_connecting() {
    let mut conversation = Conversation::new(false);
    conversation.session.dialing();
    conversation.session.disconnected(None, "refused".into(), 0);
    conversation.session.tick(10_000);
    let Ok(Err(error)) = conversation.ready.try_recv() else { panic!("no error") };
    assert!(matches!(&error, Error::Unreachable { last, .. } if last == "refused") && error.come_back());
}

#[test]
fn closing_waits_for_what_is_under_way_and_takes_nothing_new() {
    let mut conversation = Conversation::open();
    let mut answer = conversation.send(0);
    let request = conversation.said(0)[0].request().unwrap();
    conversation.session.command(Command::Close { wait_ms: 1_000 }, 0);
    conversation.session.tick(0);
    assert!(matches!(conversation.send(0).try_recv(), Ok(Err(Error::Closed))));
    assert!(!conversation.session.is_over());
    conversation.hear(&Frame::Ack { request, seq: 1, ordinal: 1, at_ms: 1 }, 10);
    assert!(conversation.session.is_over() && answer.try_recv().unwrap().is_ok());
}
