//! Writing: what a turn appended goes out once at its end, a connection at a time.

use std::io::{self, Read};
use std::rc::Rc;

use carillon_protocol::{CloseCode, Frame};
use tracing::debug;

use super::Shard;
use super::message::{Message, Origin, Reply};
use crate::connections::Key;
use crate::delivery::Delivery;
use crate::encoded::{self, Chunk, Class, Format};
use crate::outbox::{Flush, Push};

/// Bytes read at a time from a connection whose words do not matter any more.
const HEARD_OUT_BYTES: usize = 16 * 1024;

impl Shard {
    /// Appends frames to the outboxes of those sessions here that they are for.
    pub(super) fn deliver_here(&mut self, delivery: Delivery) {
        let chunk = Rc::new(Chunk::new(delivery.room, delivery.class, delivery.encoded.clone()));
        let bytes_max = self.node.config.outbox_bytes_max;
        let is_small = !matches!(delivery.audience, crate::delivery::Audience::Subscribers);
        let (connections, dirty) = (&mut self.connections, &mut self.dirty);
        let (mut delivered, mut dropped, mut lagged) = (0, 0, 0);
        let tick = self.ticks.count;
        self.local.recipients(&delivery, tick, |key| {
            let Some(connection) = connections.get_mut(key) else { return };
            if connection.state.closing {
                return;
            }
            match connection.outbox.push_shared(&chunk, connection.wire.format(), bytes_max) {
                Push::Queued => delivered += 1,
                Push::Dropped => dropped += 1,
                Push::Lagged => lagged += 1,
                Push::Missed => {}
            }
            if let (Class::Events { seq }, true, Some(session)) =
                (chunk.class, is_small, &mut connection.session)
            {
                session.moved(chunk.room, seq);
            }
            if !connection.state.dirty && !connection.state.blocked {
                connection.state.dirty = true;
                dirty.push(key);
            }
        });
        let stats = self.stats();
        stats.delivered.add(delivered);
        stats.ephemeral_dropped.add(dropped);
        stats.lagged.add(lagged);
    }

    /// An answer from another shard or node, unless the request was answered before, by another home.
    pub(super) fn replied(&mut self, to: Origin, reply: Reply) {
        if self.away.answered(to.ticket) {
            self.reply_here(to, reply);
        }
    }

    /// Appends an answer, unless the one who asked has gone.
    pub(super) fn reply_here(&mut self, to: Origin, reply: Reply) {
        let key = to.connection;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.owed_bytes = connection.owed_bytes.saturating_sub(to.owed_bytes);
        match reply {
            Reply::Frame(frame) => self.send_frame(key, &frame),
            Reply::Bytes(frames) => self.send_own(key, |format, out| encoded::append(&frames, format, out)),
        }
    }

    /// Appends one frame for one connection.
    pub(super) fn send_frame(&mut self, key: Key, frame: &Frame<'_>) {
        let mut frames = std::mem::take(&mut self.frame);
        frames.clear();
        carillon_protocol::encode(frame, &mut frames);
        self.send_own(key, |format, out| encoded::append(&frames, format, out));
        self.frame = frames;
    }

    /// Appends bytes for one connection, in its format.
    pub(super) fn send_own(&mut self, key: Key, append: impl FnOnce(Format, &mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.state.closing {
            return;
        }
        let format = connection.wire.format();
        connection.outbox.push_own(|out| append(format, out));
        self.soil(key);
    }

    /// Puts a connection on the list of those to write to.
    pub(super) fn soil(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.state.dirty && !connection.state.blocked {
            connection.state.dirty = true;
            self.dirty.push(key);
        }
    }

    /// The end of a turn: every connection that has something is written to once.
    pub(super) fn write_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            self.write(key);
        }
        self.dirty = dirty;
    }

    /// The kernel takes more again.
    pub(super) fn writable(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if std::mem::take(&mut connection.state.blocked) {
            self.write(key);
        }
    }

    fn write(&mut self, key: Key) {
        let bytes_max = self.node.config.outbox_bytes_max;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.state.dirty = false;
        match connection.flush() {
            Ok(Flush::Blocked) => connection.state.blocked = true,
            Ok(Flush::Done) if connection.state.closing => return self.shut(key),
            Ok(Flush::Done) => {}
            Err(_) => return self.remove(key),
        }
        if connection.state.paused && !connection.is_over(bytes_max) {
            connection.state.paused = false;
            self.read_again(key);
        }
    }

    /// Says why, and ends the connection once that is written.
    pub(super) fn close(&mut self, key: Key, code: CloseCode, reason: &str) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.state.closing {
            return;
        }
        debug!(code = code.0, reason, peer = %connection.peer, "closing a connection");
        let bytes = connection.wire.close_bytes(code.0, reason);
        // Who has not said what it speaks is told nothing.
        if !bytes.is_empty() {
            self.send_own(key, |_, out| out.extend_from_slice(&bytes));
        }
        self.stats().closed(code);
        self.close_when_written(key);
    }

    /// Ends the connection once what waits for it is written; what it still says is not listened to.
    pub(super) fn close_when_written(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if std::mem::replace(&mut connection.state.closing, true) {
            return;
        }
        // Over TLS there is always a last word.
        if connection.outbox.is_empty() && connection.tls.is_none() {
            return self.shut(key);
        }
        self.soil(key);
        self.leave(key);
        self.let_go_later(key);
    }

    /// Whoever does not say hello, or does not take their last bytes, in time, is let go.
    pub(super) fn let_go_later(&mut self, key: Key) {
        let patience = self.node.config.handshake_timeout_ms.div_ceil(self.ticks.every_ms) as u32;
        self.strangers.push_back((self.ticks.count + patience, key));
    }

    /// Everything is written: says so to the peer, and lets it go once it has stopped talking. Bytes of the peer that
    /// nobody has read would turn our close into a reset, which can overtake what was written.
    fn shut(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let _ = connection.socket.shut();
        let mut rest = [0; HEARD_OUT_BYTES];
        match connection.socket.read(&mut rest) {
            Ok(read) if read > 0 => {}
            // It says nothing just now: no need to wait for the end of it.
            _ => return self.remove(key),
        }
        connection.state.shut = true;
        self.leave(key);
        self.let_go_later(key);
        self.read_again(key);
    }

    /// Reads what a connection still says, for nobody, until it ends or its patience does.
    pub(super) fn hear_out(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut rest = [0; HEARD_OUT_BYTES];
        match connection.socket.read(&mut rest) {
            Ok(read) if read > 0 => self.read_again(key),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read_again(key),
            _ => self.remove(key),
        }
    }

    /// A connection has gone.
    pub(super) fn remove(&mut self, key: Key) {
        self.leave(key);
        let Some(mut connection) = self.connections.remove(key) else { return };
        // The descriptor is closed by dropping the socket, which takes it out of the poll too; this is for the books.
        let _ = connection.socket.deregister(self.sockets.get_ref().registry());
        match connection.state.refused {
            true => self.refused -= 1,
            false => self.node.admission.release(connection.peer),
        }
        self.stats().ended.add(1);
    }

    /// A session has ended, whether or not its connection still has something to take.
    fn leave(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(session) = connection.session.take() else { return };
        if self.local.leave(session.user, key) {
            self.node.directory.leave(session.user, self.me);
            if self.node.route.is_in_cluster() {
                let announcer = self.node.route.shard_of(self.node.route.partition_of_user(session.user));
                self.send_here(announcer, Message::Announce(session.user));
            }
        }
        for room in session.subscribed {
            self.unsubscribe(room, key);
        }
    }
}
