//! P4, on a log that answers when the test says so.

use std::sync::Arc;

use carillon_gateway::log::{AppendError, Batch, Log, LogError, LogStatus, Positions, Tail};
use carillon_protocol::{ErrorCode, Frame};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use crate::harness::{Node, client_id, room, user};

/// What becomes of the groups that come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Held,
    Full,
}

type Waiting = (Vec<Batch>, oneshot::Sender<Result<(), AppendError>>);

/// A log behind a gate; groups go through it one after the other.
struct GatedLog {
    log: Arc<dyn Log>,
    groups: mpsc::UnboundedSender<Waiting>,
}

impl GatedLog {
    fn new(log: Arc<dyn Log>, gate: watch::Receiver<Gate>) -> Self {
        let (groups, waiting) = mpsc::unbounded_channel();
        let behind = Arc::clone(&log);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::thread::spawn(move || runtime.block_on(Self::pass(behind, gate, waiting)));
        Self { log, groups }
    }

    async fn pass(
        log: Arc<dyn Log>,
        mut gate: watch::Receiver<Gate>,
        mut waiting: mpsc::UnboundedReceiver<Waiting>,
    ) {
        while let Some((group, answer)) = waiting.recv().await {
            let is_full =
                gate.wait_for(|&gate| gate != Gate::Held).await.is_ok_and(|gate| *gate == Gate::Full);
            let result = if is_full { Err(AppendError::Full) } else { log.append(group).await };
            let _ = answer.send(result);
        }
    }
}

impl Log for GatedLog {
    fn append(&self, group: Vec<Batch>) -> BoxFuture<'static, Result<(), AppendError>> {
        let (answer, answered) = oneshot::channel();
        self.groups.send((group, answer)).unwrap();
        async { answered.await.unwrap() }.boxed()
    }

    fn tail(&self, after: Positions) -> Result<Box<dyn Tail>, LogError> {
        self.log.tail(after)
    }

    fn trim(&self, archived: &Positions) {
        self.log.trim(archived);
    }

    fn last(&self) -> Positions {
        self.log.last()
    }

    fn status(&self) -> LogStatus {
        self.log.status()
    }
}

fn gated(waiting_max: usize) -> (Node, watch::Sender<Gate>) {
    let (gate, receiver) = watch::channel(Gate::Open);
    let change = |config: &mut carillon_gateway::config::Config| config.requests_waiting_max = waiting_max;
    (Node::start_on(change, |log| Arc::new(GatedLog::new(log, receiver))), gate)
}

fn members_asked(request: u64, room: carillon_protocol::RoomId) -> Frame<'static> {
    Frame::Members { request, room, after_user: 0, limit: 0 }
}

#[test]
fn nobody_hears_reads_or_counts_it_until_then() {
    let (node, gate) = gated(1000);
    let (mut sender, mut other, mut third) = (node.client(1), node.client(2), node.client(3));
    let room = sender.create_room(&[2, 4]);
    sender.send(room, "durable");
    assert_eq!((other.event().seq, other.event().seq), (1, 2));
    sender.aside.clear();

    gate.send(Gate::Held).unwrap();
    let id = client_id();
    let send = |request| Frame::Send { request, room, client_id: id, text: "held".into() };
    let sent = sender.start(send);
    let read = other.start(|request| Frame::MarkRead { request, room, seq: 2 });
    let added = sender.start(|request| Frame::AddMembers { request, room, members: vec![user(3)] });
    let removed = sender.start(|request| Frame::RemoveMember { request, room, user: user(4) });
    let again = sender.start(send);
    // A sync is answered at once: by then all that could have come has.
    assert_eq!(sender.history(room, 0).len(), 2);
    assert_eq!(other.history(room, 0).len(), 2);
    let listed = other.start(|request| members_asked(request, room));
    let entry = other.entry(room).unwrap();
    assert_eq!((entry.head_seq, entry.unread, entry.read_seq), (2, 1, 1));
    assert!(third.rooms().is_empty());
    assert_eq!((sender.so_far(), other.so_far(), third.so_far()), (vec![], vec![], vec![]));

    gate.send(Gate::Open).unwrap();
    for request in [sent, again] {
        assert!(matches!(sender.answer(request), Frame::Ack { seq: 3, .. }));
    }
    // Whether users may have one more room is asked of their homes first, so others may overtake.
    assert!(matches!(sender.answer(removed), Frame::Ack { seq: 4 | 5, .. }));
    assert!(matches!(sender.answer(added), Frame::Ack { seq: 4 | 5, .. }));
    assert!(matches!(other.answer(read), Frame::Ack { seq: 2, .. }));
    let Frame::MemberList { members, .. } = other.answer(listed) else { panic!() };
    assert!(members.iter().all(|member| member.user != user(4)), "the list waited for the removal");
    assert_eq!((other.event().seq, other.event().seq, other.event().seq), (3, 4, 5));
    assert!(matches!(third.event().seq, 4 | 5));
    assert_eq!(other.entry(room).unwrap().unread, 1);
    assert_eq!(third.rooms().len(), 1);
}

#[test]
fn what_the_log_refuses_was_never_there() {
    let (node, gate) = gated(1000);
    let (mut sender, mut other, mut third) = (node.client(1), node.client(2), node.client(3));
    let (there, not_there) = (sender.create_room(&[2]), room());
    assert_eq!(sender.send(there, "durable"), 2);
    for _ in 0..3 {
        gate.send(Gate::Held).unwrap();
        let id = client_id();
        let send = |request| Frame::Send { request, room: there, client_id: id, text: "refused".into() };
        let mut asked = vec![
            sender.start(|request| Frame::AddMembers { request, room: there, members: vec![user(3)] }),
            sender.start(|request| Frame::RemoveMember { request, room: there, user: user(2) }),
            sender.start(|request| crate::harness::create(request, not_there, &[2])),
        ];
        asked.extend((0..5).map(|_| sender.start(send)));
        asked.push(sender.start(|request| Frame::MarkRead { request, room: there, seq: 2 }));
        sender.so_far();
        gate.send(Gate::Full).unwrap();
        for request in asked {
            let answer = sender.answer(request);
            let Frame::Error { code: ErrorCode::UNAVAILABLE, retry_after_ms: Some(_), .. } = answer else {
                panic!("{answer:?}")
            };
        }
        assert_eq!(other.history(there, 0).len(), 2, "history stays readable");
        assert!(third.rooms().is_empty());
        assert_eq!(other.entry(there).unwrap().member_count, 2);
        gate.send(Gate::Open).unwrap();
    }
    let id = client_id();
    assert_eq!(sender.send_as(there, id, "taken"), 3);
    assert_eq!(other.send(there, "also"), 4);
    assert_eq!(sender.send_as(there, id, "taken"), 3);
    let seqs: Vec<u64> = other.history(there, 0).iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    let answer = other.ask(|request| members_asked(request, there));
    assert!(matches!(&answer, Frame::MemberList { members, .. } if members.len() == 2), "{answer:?}");
    assert_eq!(sender.refused(|request| members_asked(request, not_there)), ErrorCode::NOT_A_MEMBER);
}

#[test]
fn more_than_may_wait_for_the_log_is_busy() {
    let (node, gate) = gated(20);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    gate.send(Gate::Held).unwrap();
    let asked: Vec<u64> = (0..50)
        .map(|_| {
            client.start(|request| Frame::Send {
                request,
                room,
                client_id: client_id(),
                text: "hello".into(),
            })
        })
        .collect();
    let so_far = client.so_far();
    client.aside.extend(so_far);
    gate.send(Gate::Open).unwrap();
    let mut taken = 0;
    for request in asked {
        match client.aside.iter().find(|frame| frame.request() == Some(request)).cloned() {
            Some(Frame::Error { code: ErrorCode::BUSY, retry_after_ms: Some(_), .. }) => {}
            None => taken += u64::from(matches!(client.answer(request), Frame::Ack { .. })),
            other => panic!("{other:?}"),
        }
    }
    assert!((19..=20).contains(&taken), "{taken} were taken");
    client.aside.clear();
    assert_eq!(client.send(room, "after"), taken + 2);
}
