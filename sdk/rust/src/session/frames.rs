//! What the gateway's frames do to a session.

use carillon_protocol::{ErrorCode, Event, Frame, RoomId, UserId};

use super::{Open, Own, Phase, REFRESH_RETRY_MS, Session};
use crate::Update;
use crate::backoff::wait_ms;

impl Session {
    /// One frame from the gateway.
    pub(super) fn frame(&mut self, frame: Frame<'_>, now_ms: u64) {
        match frame {
            Frame::Welcome { user, now_ms: theirs_ms, ping_interval_ms, expires_ms, .. } => {
                self.welcome(user, ping_interval_ms, expires_ms.saturating_sub(theirs_ms), now_ms);
            }
            Frame::Error { request: 0, code, message, .. } => {
                self.refusal = Some((code, message.into_owned()))
            }
            Frame::Event(event) => {
                if let Some(me) = self.me {
                    self.feed.event(event.into_owned(), me);
                }
            }
            Frame::Ping { stamp, heads } => {
                self.write(&Frame::Pong { stamp });
                self.feed.heads(&heads);
            }
            Frame::Lagged { room, from_seq } => self.feed.lagged(room, from_seq),
            Frame::Read { room, user, seq, unread } => {
                self.feed.ephemeral(Update::Read { room, user, seq, unread });
            }
            Frame::Typing { room, active, user: Some(user) } => {
                self.feed.ephemeral(Update::Typing { room, user, active });
            }
            Frame::GoAway { reconnect_after_ms, jitter_ms } => {
                let leave_ms = now_ms + reconnect_after_ms + self.random.up_to(jitter_ms);
                if let Phase::Open(open) = &mut self.phase {
                    open.leave_ms = Some(leave_ms);
                }
            }
            frame => {
                if let Some(number) = frame.request() {
                    self.answer(number, frame, now_ms);
                }
            }
        }
    }

    fn welcome(&mut self, user: UserId, ping_interval_ms: u64, token_lives_ms: u64, now_ms: u64) {
        self.me = Some(user);
        self.expired = 0;
        let silent_max_ms = 2 * ping_interval_ms.clamp(100, 3_600_000);
        // Early enough to try more than once.
        let refresh_every_ms = (token_lives_ms / 5 * 4).max(REFRESH_RETRY_MS);
        self.phase = Phase::Open(Open {
            since_ms: now_ms,
            silent_max_ms,
            silent_until_ms: now_ms + silent_max_ms,
            leave_ms: None,
            refresh_ms: self.settings.has_fresh_tokens.then_some(now_ms + refresh_every_ms),
            refresh_every_ms,
            list_ms: None,
        });
        self.list_rooms(None);
    }

    fn answer(&mut self, number: u64, frame: Frame<'_>, now_ms: u64) {
        match self.own.remove(&number) {
            None => self.requests.answered(number, frame.into_owned(), now_ms, &mut self.random),
            Some(Own::Sync(room)) => self.sync_answer(room, frame, now_ms),
            Some(Own::Rooms) => self.list_answer(frame, now_ms),
            Some(Own::Refresh) => self.refresh_answer(&frame, now_ms),
        }
    }

    fn sync_answer(&mut self, room: RoomId, frame: Frame<'_>, now_ms: u64) {
        match frame {
            Frame::Events { head_seq, events, .. } => {
                let events = events.into_iter().map(Event::into_owned).collect();
                self.feed.answered(room, head_seq, events, now_ms);
            }
            Frame::Snapshot { head_seq, from_seq, name, .. } => {
                self.feed.snapshot(room, head_seq, from_seq, name.into_owned(), now_ms);
            }
            Frame::Error { code: ErrorCode::NOT_A_MEMBER, .. } => self.feed.gone(room),
            _ => self.feed.unanswered(room, now_ms),
        }
    }

    fn list_answer(&mut self, frame: Frame<'_>, now_ms: u64) {
        let (Phase::Open(open), Some(me)) = (&mut self.phase, self.me) else { return };
        let Frame::RoomList { cursor, rooms, next, .. } = frame else {
            open.list_ms = Some(now_ms + wait_ms(1, &mut self.random));
            return;
        };
        rooms.iter().for_each(|entry| self.feed.listed(entry));
        // The first page's cursor is the one to keep, once all pages are here.
        if self.new_cursor == 0 {
            self.new_cursor = cursor;
        }
        match next {
            Some(page) => self.list_rooms(Some(page)),
            None => {
                self.cursor = std::mem::take(&mut self.new_cursor);
                self.feed.list_ended(me);
                if let Some((_, ready)) = self.ready.take() {
                    let _ = ready.send(Ok(me));
                }
            }
        }
    }

    fn refresh_answer(&mut self, frame: &Frame<'_>, now_ms: u64) {
        let Phase::Open(open) = &mut self.phase else { return };
        open.refresh_ms = match frame {
            // How long the new token lives is not told; as long as the first, it seems.
            Frame::Ack { .. } => Some(now_ms + open.refresh_every_ms),
            _ => Some(now_ms + REFRESH_RETRY_MS),
        };
    }
}
