//! Requests that wait for their answer: sent again after a reconnect or a "come back later" under the same number
//! (and, for sends, the same client id) until they are answered or the give-up time has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carillon_protocol::{ErrorCode, Frame};
use tokio::sync::oneshot;

use crate::Error;
use crate::backoff::{Random, wait_ms};

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Frame<'static>, Error>>;

/// The bounded set of requests that are not answered yet.
#[derive(Debug)]
pub(crate) struct Requests {
    pending: BTreeMap<u64, Pending>,
    /// When to send what is not under way, in order of time and then of age.
    due: BTreeSet<(u64, u64)>,
    pending_max: usize,
    give_up_ms: u64,
}

#[derive(Debug)]
struct Pending {
    frame: Frame<'static>,
    reply: Reply,
    since_ms: u64,
    due_ms: Option<u64>,
    attempts: u32,
    last: String,
}

impl Requests {
    /// None yet; at most `pending_max`, and each for at most `give_up_ms`.
    pub(crate) fn new(pending_max: usize, give_up_ms: u64) -> Self {
        Self { pending: BTreeMap::new(), due: BTreeSet::new(), pending_max, give_up_ms }
    }

    /// Takes a request on under a number higher than all before, or refuses it because there are too many.
    pub(crate) fn add(&mut self, number: u64, mut frame: Frame<'static>, reply: Reply, now_ms: u64) {
        if self.pending.len() >= self.pending_max {
            answer(reply, Err(Error::TooManyPending { max: self.pending_max }));
            return;
        }
        set_number(&mut frame, number);
        let last = "not connected".to_owned();
        let pending = Pending { frame, reply, since_ms: now_ms, due_ms: Some(0), attempts: 0, last };
        self.pending.insert(number, pending);
        self.due.insert((0, number));
    }

    /// The next request to send now; it is then under way.
    pub(crate) fn next_due(&mut self, now_ms: u64) -> Option<&Frame<'static>> {
        let &(due_ms, number) = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms)?;
        self.due.remove(&(due_ms, number));
        let pending = self.pending.get_mut(&number)?;
        pending.due_ms = None;
        pending.attempts = pending.attempts.saturating_add(1);
        pending.last = "no answer came".to_owned();
        Some(&pending.frame)
    }

    /// An answer came. "Come back later" is obeyed here and not passed on.
    pub(crate) fn answered(&mut self, number: u64, frame: Frame<'static>, now_ms: u64, random: &mut Random) {
        let Some(mut pending) = self.pending.remove(&number) else { return };
        match frame {
            Frame::Error { code, message, retry_after_ms, .. } if code.come_back() => {
                let wait_ms = wait_ms(pending.attempts, random).max(retry_after_ms.unwrap_or(0));
                pending.last = message.into_owned();
                self.put_back(number, pending, now_ms + wait_ms);
            }
            Frame::Error { code, .. } if pending.is_done_already(code) => {
                answer(pending.reply, Ok(Frame::Ack { request: number, seq: 0, ordinal: 0, at_ms: 0 }));
            }
            Frame::Error { code, message, .. } => {
                answer(pending.reply, Err(Error::Refused { code, message: message.into_owned() }));
            }
            frame => answer(pending.reply, Ok(frame)),
        }
    }

    /// The connection is gone: what was under way is sent again as soon as there is another.
    pub(crate) fn disconnected(&mut self) {
        for (&number, pending) in &mut self.pending {
            if pending.due_ms.is_none() {
                pending.due_ms = Some(0);
                self.due.insert((0, number));
            }
        }
    }

    /// Ends what has waited too long.
    pub(crate) fn give_up(&mut self, now_ms: u64) {
        while let Some(oldest) = self.pending.first_entry() {
            if now_ms < oldest.get().since_ms + self.give_up_ms {
                break;
            }
            let (number, pending) = oldest.remove_entry();
            self.due.retain(|&(_, due)| due != number);
            let after = Duration::from_millis(self.give_up_ms);
            answer(pending.reply, Err(Error::GaveUp { after, last: pending.last }));
        }
    }

    /// Ends everything.
    pub(crate) fn fail_all(&mut self, error: &Error) {
        self.due.clear();
        for pending in std::mem::take(&mut self.pending).into_values() {
            answer(pending.reply, Err(error.clone()));
        }
    }

    /// When something is due or given up.
    pub(crate) fn deadline_ms(&self, may_send: bool) -> Option<u64> {
        let oldest = self.pending.first_key_value().map(|(_, pending)| pending.since_ms + self.give_up_ms);
        let due = self.due.first().map(|&(due_ms, _)| due_ms).filter(|_| may_send);
        oldest.into_iter().chain(due).min()
    }

    /// Whether everything has been answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn put_back(&mut self, number: u64, mut pending: Pending, due_ms: u64) {
        pending.due_ms = Some(due_ms);
        self.due.insert((due_ms, number));
        self.pending.insert(number, pending);
    }
}

impl Pending {
    /// Who left a room is no member when the retry arrives, which is what was wanted.
    fn is_done_already(&self, code: ErrorCode) -> bool {
        self.attempts > 1 && code == ErrorCode::NOT_A_MEMBER && matches!(self.frame, Frame::Leave { .. })
    }
}

/// The app may have stopped waiting; then nobody minds.
fn answer(reply: Reply, result: Result<Frame<'static>, Error>) {
    let _ = reply.send(result);
}

fn set_number(frame: &mut Frame<'_>, number: u64) {
    match frame {
        Frame::CreateRoom { request, .. }
        | Frame::AddMembers { request, .. }
        | Frame::RemoveMember { request, .. }
        | Frame::Leave { request, .. }
        | Frame::Send { request, .. }
        | Frame::Sync { request, .. }
        | Frame::History { request, .. }
        | Frame::Rooms { request, .. }
        | Frame::Members { request, .. }
        | Frame::MarkRead { request, .. } => *request = number,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use carillon_protocol::RoomId;

    use super::*;

    fn leave() -> Frame<'static> {
        Frame::Leave { request: 0, room: RoomId::NIL }
    }

    fn busy(request: u64) -> Frame<'static> {
        Frame::Error { request, code: ErrorCode::BUSY, message: "busy".into(), retry_after_ms: Some(900) }
    }

    #[test]
    fn a_busy_answer_is_obeyed_and_the_same_number_sent_again() {
        let (reply, mut answer) = oneshot::channel();
        let mut requests = Requests::new(1, 10_000);
        requests.add(7, leave(), reply, 0);
        assert_eq!(requests.next_due(0).and_then(Frame::request), Some(7));
        assert!(requests.next_due(0).is_none());
        requests.answered(7, busy(7), 100, &mut Random(1));
        assert!(requests.next_due(999).is_none());
        assert_eq!(requests.next_due(1_000).and_then(Frame::request), Some(7));
        assert!(answer.try_recv().is_err());
        requests.answered(7, Frame::Ack { request: 7, seq: 3, ordinal: 2, at_ms: 1 }, 1_100, &mut Random(1));
        assert!(matches!(answer.try_recv(), Ok(Ok(Frame::Ack { seq: 3, .. }))));
        assert!(requests.is_empty());
    }

    #[test]
    fn a_lost_connection_repeats_what_was_under_way_in_its_order() {
        let mut requests = Requests::new(9, 10_000);
        for number in 1..=3 {
            requests.add(number, leave(), oneshot::channel().0, 0);
        }
        while requests.next_due(0).is_some() {}
        requests.disconnected();
        let again: Vec<u64> = std::iter::from_fn(|| requests.next_due(0).and_then(Frame::request)).collect();
        assert_eq!(again, [1, 2, 3]);
    }

    #[test]
    fn giving_up_says_so_and_frees_the_place() {
        let (reply, mut answer) = oneshot::channel();
        let mut requests = Requests::new(1, 10_000);
        requests.add(1, leave(), reply, 500);
        let (refused, mut refusal) = oneshot::channel();
        requests.add(2, leave(), refused, 500);
        assert!(matches!(refusal.try_recv(), Ok(Err(Error::TooManyPending { max: 1 }))));
        assert_eq!(requests.deadline_ms(false), Some(10_500));
        requests.give_up(10_499);
        assert!(!requests.is_empty());
        requests.give_up(10_500);
        let Ok(Err(error)) = answer.try_recv() else { panic!("no error") };
        assert!(matches!(error, Error::GaveUp { .. }) && error.come_back());
        assert!(requests.is_empty() && requests.next_due(u64::MAX).is_none());
    }

    #[test]
    fn a_leave_whose_answer_was_lost_counts_as_done() {
        let (reply, mut answer) = oneshot::channel();
        let mut requests = Requests::new(1, 10_000);
        requests.add(1, leave(), reply, 0);
        requests.next_due(0);
        requests.disconnected();
        requests.next_due(0);
        let gone = ErrorCode::NOT_A_MEMBER;
        let refusal = Frame::Error { request: 1, code: gone, message: "".into(), retry_after_ms: None };
        requests.answered(1, refusal, 0, &mut Random(1));
        assert!(matches!(answer.try_recv(), Ok(Ok(Frame::Ack { .. }))));
    }
}
