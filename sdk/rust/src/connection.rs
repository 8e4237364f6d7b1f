//! The life of a client, on one screen: the session decides, this loop moves bytes, commands and updates.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until};

use crate::link::{Link, LinkEvent, TokenSource};
use crate::session::{Command, Session, Want};
use crate::{ConnectionState, Error, Update};

/// The ends of the queues between the app and its client.
pub(crate) struct Queues {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) updates: mpsc::Sender<Update>,
    pub(crate) state: watch::Sender<ConnectionState>,
}

/// Milliseconds since the client began.
#[derive(Clone, Copy)]
pub(crate) struct Clock(pub(crate) Instant);

/// Lives until the session is over: closed by the app, ended by the gateway, or let go of.
pub(crate) async fn run(
    mut session: Session,
    mut link: Link,
    tokens: TokenSource,
    mut queues: Queues,
    clock: Clock,
) {
    let mut refreshing: Fuse<BoxFuture<'static, Result<String, String>>> = Fuse::terminated();
    let mut is_let_go = false;
    while !session.is_over() {
        let now_ms = clock.now_ms();
        match session.want(now_ms) {
            Want::Nothing => link.drop_socket(),
            Want::Link => {}
            Want::Dial => {
                link.dial();
                session.dialing();
            }
        }
        if link.takes_output() {
            link.write(session.next_output(now_ms));
        }
        if session.takes_token() {
            refreshing = tokens().fuse();
        }
        publish(&queues.state, session.state(now_ms));
        let alarm = sleep_until(clock.at(session.deadline_ms()));
        tokio::select! {
            event = link.next() => match event {
                LinkEvent::Connected(token) => session.connected(token, clock.now_ms()),
                LinkEvent::Bytes(bytes) => session.received(&bytes, clock.now_ms()),
                LinkEvent::Written => {}
                LinkEvent::Closed(code, reason) => session.disconnected(code, reason, clock.now_ms()),
            },
            command = queues.commands.recv(), if !is_let_go => match command {
                Some(command) => session.command(command, clock.now_ms()),
                None => is_let_go = true,
            },
            Ok(permit) = queues.updates.reserve(), if session.has_update() => {
                if let Some(update) = session.next_update() {
                    permit.send(update);
                }
            }
            () = queues.updates.closed(), if !session.is_muted() => session.mute(),
            token = &mut refreshing => session.token(token, clock.now_ms()),
            () = alarm => {}
        }
        if is_let_go && session.is_muted() {
            session.end(Error::Closed);
        }
        session.tick(clock.now_ms());
    }
    publish(&queues.state, session.state(clock.now_ms()));
    link.close().await;
}

/// Tells what changed; that the wait for the next attempt got shorter is no change.
fn publish(state: &watch::Sender<ConnectionState>, now: ConnectionState) {
    state.send_if_modified(|before| {
        let is_new = std::mem::discriminant(before) != std::mem::discriminant(&now);
        if is_new {
            *before = now;
        }
        is_new
    });
}

/// Further ahead than anyone waits, and near enough to be added to any time.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Clock {
    pub(crate) fn now_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(self, time_ms: Option<u64>) -> Instant {
        self.0 + time_ms.map_or(FAR, |time_ms| Duration::from_millis(time_ms).min(FAR))
    }
}
