//! A reliable, ordered channel between two nodes, over datagrams that may be lost, doubled and late.
//!
//! One side of it: no I/O and no clock. Batches go in ([`Link::send`]) and datagrams come out
//! ([`Link::datagram_out`]); datagrams go in ([`Link::on_datagram`]) and batches come out ([`Link::next`]), each once and in
//! the order in which the peer sent them.
//!
//! - **Numbers.** A batch is one or more numbered pieces. Whoever receives acknowledges up to a number, with the data
//!   that goes back or alone a little later, and says at once which it misses. What is not acknowledged is sent
//!   again, later and later.
//! - **Epochs.** Each side counts its lives of the link. Data carries both sides' epochs and is taken only where both are
//!   the present ones, so nothing of an old life gets into a new one. A peer that answers nothing for `lost_after_ms`
//!   is lost: the epoch ends, and with it all that was not acknowledged. The peer sees the new number and ends its own
//!   life of the link too. Both are told ([`Output::Lost`]); what became of the last batches, only the peer knows.
//! - **Bounds.** What is not acknowledged, what came too early and what nobody has taken yet are each bounded in bytes. At the first
//!   bound `send` refuses; at the others pieces are left unacknowledged, to come again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::datagram::{self, Datagram, HEADER_BYTES_MAX, Header, Malformed, PIECE_HEADER_BYTES_MAX, Piece};
use super::view::NodeId;

/// The largest batch: what a link gathers of one batch in pieces is no more. A shard that could hand over nothing for a while
/// comes with all of it at once, so this is far more than a turn's.
pub const BATCH_BYTES_MAX: usize = 256 << 20;
/// What a piece costs beside its bytes, for the bounds.
const PIECE_OVERHEAD_BYTES: usize = 64;
/// A peer that misses something is sent it again only where it has not been just sent.
const ASKED_QUIET_MS: u64 = 10;

/// How a link behaves; the same on all nodes, as far as they should fare alike.
#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// Bytes on their way to the peer and not acknowledged; also bytes from it that wait to be taken, and that came
    /// too early.
    pub unacknowledged_bytes_max: usize,
    /// The largest datagram: what the network takes.
    pub datagram_bytes_max: usize,
    /// How long an acknowledgement waits for data to go with.
    pub ack_delay_ms: u64,
    /// After so long without acknowledgement something is sent again; then twice as long,
    pub resend_after_ms: u64,
    /// up to this.
    pub resend_after_ms_max: u64,
    /// A peer that is to answer and does not for so long is lost.
    pub lost_after_ms: u64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            unacknowledged_bytes_max: 16 << 20,
            datagram_bytes_max: 512 << 10,
            ack_delay_ms: 20,
            resend_after_ms: 200,
            resend_after_ms_max: 2_000,
            lost_after_ms: 10_000,
        }
    }
}

/// What a link has for its owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The peer answers; batches come from here on.
    Opened,
    /// What was sent so far and not answered may have arrived or not, and is not sent any more.
    Lost,
    /// The peer's next batch.
    Batch(Bytes),
}

/// Why a batch was not taken; it comes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Too much is not acknowledged: come again later.
    Full(Bytes),
    /// Larger than [`BATCH_BYTES_MAX`].
    TooLarge(Bytes),
}

/// One side of a link.
pub struct Link {
    me: NodeId,
    peer: NodeId,
    config: LinkConfig,
    /// Ours; never the same twice between two processes.
    epoch: u64,
    /// The peer's latest that was seen; 0 where none was.
    peer_epoch: u64,
    /// The peer has shown that it knows our epoch.
    open: bool,
    /// The epochs for which the owner was told that the link is open.
    told: Option<(u64, u64)>,
    /// Batches were given up that the owner has not been told of.
    dropped: bool,
    outgoing: Outgoing,
    incoming: Incoming,
    timers: Timers,
}

/// When what is due, in the caller's milliseconds.
#[derive(Default)]
struct Timers {
    ack_at: Option<u64>,
    resend_at: Option<u64>,
    hello_at: Option<u64>,
    /// Since when an answer is waited for.
    waiting_since: Option<u64>,
    /// How long the next wait for an answer is, where it grew.
    backoff_ms: Option<u64>,
}

/// What is not acknowledged.
#[derive(Default)]
struct Outgoing {
    /// The number of the first piece in the queue, less one: all up to it are acknowledged.
    acknowledged: u64,
    queue: VecDeque<Sent>,
    bytes: usize,
    /// Pieces up to this number have been sent since the last time-out.
    sent: u64,
    /// Pieces up to this number have been sent at all.
    sent_ever: u64,
    /// What the peer said that it misses.
    asked: Range<u64>,
    /// After a time-out one datagram goes first, the others when it is answered.
    probing: bool,
}

struct Sent {
    piece: Piece,
    at_ms: u64,
}

/// What came and is not taken.
#[derive(Default)]
struct Incoming {
    /// All up to this number have come.
    received: u64,
    /// The batch whose pieces are coming.
    partial: Vec<u8>,
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// What came too early.
    held: BTreeMap<u64, Piece>,
    held_bytes: usize,
    /// The last piece that was turned away because too much waits to be taken.
    turned_away: Option<u64>,
    /// Pieces before this one are asked for, though none is held.
    ask_before: Option<u64>,
    /// What came since the last acknowledgement.
    unacknowledged_bytes: usize,
}

impl Link {
    /// A link from `me` to `peer` that is not open. `epoch`, from 1 up, must be larger than that of any link there has been from
    /// this process to that one ([`Link::epoch`]).
    pub fn new(me: NodeId, peer: NodeId, epoch: u64, config: LinkConfig) -> Self {
        Self {
            me,
            peer,
            config,
            epoch: epoch.max(1),
            peer_epoch: 0,
            open: false,
            told: None,
            dropped: false,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            timers: Timers { hello_at: Some(0), ..Timers::default() },
        }
    }

    /// How often this side began, this time included.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the peer has answered in this epoch.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the next is [`Output::Lost`].
    pub fn has_given_up(&self) -> bool {
        let now_open = self.open.then_some((self.epoch, self.peer_epoch));
        self.dropped || (self.told.is_some() && self.told != now_open)
    }

    /// What waits to be acknowledged, with some bytes for each piece.
    pub fn unacknowledged_bytes(&self) -> usize {
        self.outgoing.bytes
    }

    /// Takes a batch for the peer; it leaves with [`Link::datagram_out`], at the earliest when the link is open.
    pub fn send(&mut self, batch: Bytes) -> Result<(), Refused> {
        if batch.len() > BATCH_BYTES_MAX {
            return Err(Refused::TooLarge(batch));
        }
        // The first is always taken, so that any batch can be sent, some time.
        let is_first = self.outgoing.queue.is_empty();
        if !is_first && self.outgoing.bytes + charge(&batch) > self.config.unacknowledged_bytes_max {
            return Err(Refused::Full(batch));
        }
        let room = self.config.datagram_bytes_max.saturating_sub(HEADER_BYTES_MAX + PIECE_HEADER_BYTES_MAX);
        self.outgoing.push(batch, room.max(1));
        Ok(())
    }

    /// The next datagram for the peer, if there is one now. Call until there is none, and again at
    /// [`Link::timeout_ms`].
    pub fn datagram_out(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        self.time_out(now_ms);
        if !self.open {
            return self.hello_out(now_ms);
        }
        let range = self.outgoing.to_send();
        if range.is_empty() && self.timers.ack_at.is_none_or(|at| now_ms < at) {
            return None;
        }
        Some(self.data_out(range, now_ms))
    }

    /// When [`Link::datagram_out`] has something next, if nothing else happens; a time past where it has now.
    pub fn timeout_ms(&self) -> Option<u64> {
        if self.open && !self.outgoing.to_send().is_empty() {
            return Some(0);
        }
        let lost_at = self.timers.waiting_since.filter(|_| self.has_much_to_lose());
        let lost_at = lost_at.map(|since| since + self.config.lost_after_ms);
        let timers = &self.timers;
        let due = if self.open { [timers.ack_at, timers.resend_at] } else { [timers.hello_at, None] };
        due.into_iter().chain([lost_at]).flatten().min()
    }

    /// A datagram from the peer. What it brings comes out of [`Link::next`]; one of an old epoch, or another link's, brings
    /// nothing.
    pub fn on_datagram(&mut self, now_ms: u64, bytes: &Bytes) -> Result<(), Malformed> {
        let Datagram { header, pieces } = Datagram::decode(bytes)?;
        self.on_decoded(now_ms, &header, pieces);
        Ok(())
    }

    /// The same, for who has decoded it already.
    pub fn on_decoded(&mut self, now_ms: u64, header: &Header, pieces: datagram::Pieces) {
        let is_ours = header.from == self.peer && header.to == self.me;
        if !is_ours || header.epoch < self.peer_epoch || header.peer_epoch > self.epoch {
            return;
        }
        if header.epoch > self.peer_epoch {
            if self.open {
                self.give_up(now_ms);
            }
            self.peer_epoch = header.epoch;
        }
        if header.peer_epoch != self.epoch {
            // It does not know us yet, or it is of before we began again.
            self.answer(now_ms);
            return;
        }
        self.heard(now_ms);
        if header.hello {
            self.answer(now_ms);
        }
        if self.outgoing.on_acknowledged(header, now_ms) {
            self.timers.backoff_ms = None;
            let in_flight = self.outgoing.in_flight();
            self.timers.resend_at = in_flight.then(|| now_ms + self.config.resend_after_ms);
        }
        if !self.outgoing.is_waiting() {
            self.timers.waiting_since = None;
        }
        self.receive(now_ms, header.first, pieces);
    }

    /// What the link has for its owner, if anything. A batch stays the next until [`Link::taken`].
    #[allow(clippy::should_implement_trait, reason = "a link goes on after there was nothing")]
    pub fn next(&mut self) -> Option<Output> {
        if self.has_given_up() {
            self.dropped = false;
            self.told = None;
            return Some(Output::Lost);
        }
        if self.told.is_none() && self.open {
            self.told = Some((self.epoch, self.peer_epoch));
            return Some(Output::Opened);
        }
        self.incoming.ready.front().cloned().map(Output::Batch)
    }

    /// The batch that [`Link::next`] gave is taken; the one after it is the next. Until then what it takes counts, and past the bound
    /// the peer has to wait.
    pub fn taken(&mut self) {
        if self.incoming.taken(self.config.unacknowledged_bytes_max) {
            self.timers.ack_at = Some(0);
        }
    }

    /// The network was away and is back: what was on its way is probably lost, and the time it was away does not count as
    /// the peer's silence.
    pub fn on_reconnected(&mut self, now_ms: u64) {
        self.timers.waiting_since = self.timers.waiting_since.map(|_| now_ms);
        self.timers.backoff_ms = None;
        if self.open && self.outgoing.in_flight() {
            self.outgoing.go_back();
            self.timers.resend_at = Some(now_ms + self.config.resend_after_ms);
        }
        if !self.open {
            self.timers.hello_at = Some(now_ms);
        }
    }

    /// Declares the peer lost.
    pub fn reset(&mut self, now_ms: u64) {
        self.give_up(now_ms);
        self.epoch += 1;
    }

    fn give_up(&mut self, now_ms: u64) {
        self.dropped |= !self.outgoing.queue.is_empty();
        self.outgoing = Outgoing::default();
        self.incoming = Incoming::default();
        self.timers = Timers { hello_at: Some(now_ms), ..Timers::default() };
        self.open = false;
    }

    /// Whether something is given up where the peer is lost.
    fn has_much_to_lose(&self) -> bool {
        !self.outgoing.queue.is_empty()
    }

    /// The peer has shown that it knows our epoch.
    fn heard(&mut self, now_ms: u64) {
        if !self.open {
            self.open = true;
            self.timers = Timers::default();
        }
        self.timers.waiting_since = self.timers.waiting_since.map(|_| now_ms);
    }

    fn answer(&mut self, now_ms: u64) {
        if self.open {
            self.timers.ack_at = Some(now_ms);
        } else {
            self.timers.hello_at = Some(now_ms);
        }
    }

    fn time_out(&mut self, now_ms: u64) {
        if !self.has_much_to_lose() {
            self.timers.waiting_since = self.timers.waiting_since.map(|_| now_ms);
        }
        let silent_ms = self.timers.waiting_since.map_or(0, |since| now_ms.saturating_sub(since));
        if silent_ms >= self.config.lost_after_ms && self.has_much_to_lose() {
            self.reset(now_ms);
        }
        if self.open && self.timers.resend_at.is_some_and(|at| at <= now_ms) {
            self.outgoing.go_back();
            let wait_ms = self.grow_backoff();
            self.timers.resend_at = Some(now_ms + wait_ms);
        }
    }

    /// How long to wait for an answer this time; longer the next.
    fn grow_backoff(&mut self) -> u64 {
        let wait_ms = self.timers.backoff_ms.unwrap_or(self.config.resend_after_ms);
        self.timers.backoff_ms = Some((wait_ms * 2).min(self.config.resend_after_ms_max));
        wait_ms
    }

    fn hello_out(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        if self.timers.hello_at.is_none_or(|at| now_ms < at) {
            return None;
        }
        let wait_ms = self.grow_backoff();
        self.timers.hello_at = Some(now_ms + wait_ms);
        self.timers.waiting_since.get_or_insert(now_ms);
        let mut out = Vec::with_capacity(HEADER_BYTES_MAX);
        self.header(0).encode(&mut out);
        Some(out)
    }

    fn data_out(&mut self, range: Range<u64>, now_ms: u64) -> Vec<u8> {
        let (first, bytes_max) = (range.start, self.config.datagram_bytes_max);
        let range = self.outgoing.fitting(range, bytes_max.saturating_sub(HEADER_BYTES_MAX));
        let header = self.header(if range.is_empty() { 0 } else { first });
        let mut out = Vec::with_capacity(HEADER_BYTES_MAX + self.outgoing.bytes_of(&range));
        header.encode(&mut out);
        self.outgoing.write(&range, now_ms, &mut out);
        if !range.is_empty() {
            self.timers.waiting_since.get_or_insert(now_ms);
            self.timers.resend_at.get_or_insert(now_ms + self.config.resend_after_ms);
        }
        self.timers.ack_at = None;
        self.incoming.ask_before = None;
        self.incoming.unacknowledged_bytes = 0;
        out
    }

    fn header(&self, first: u64) -> Header {
        let held_from = self.incoming.held.keys().next().copied().or(self.incoming.ask_before);
        Header {
            from: self.me,
            to: self.peer,
            hello: !self.open,
            epoch: self.epoch,
            peer_epoch: self.peer_epoch,
            acknowledged: self.incoming.received,
            held_from: held_from.unwrap_or(0),
            first,
        }
    }

    fn receive(&mut self, now_ms: u64, first: u64, pieces: datagram::Pieces) {
        let bytes_max = self.config.unacknowledged_bytes_max;
        let mut ack_after_ms = None;
        for (number, piece) in (first..).zip(pieces) {
            let wait_ms = match self.incoming.receive(number, piece, bytes_max) {
                Received::InOrder if self.incoming.unacknowledged_bytes < bytes_max / 4 => {
                    self.config.ack_delay_ms
                }
                // Twice: the acknowledgement was lost. Too early: one before it was.
                Received::InOrder | Received::Again | Received::TooEarly => 0,
                Received::TooLarge => return self.reset(now_ms),
            };
            ack_after_ms = Some(ack_after_ms.map_or(wait_ms, |already: u64| already.min(wait_ms)));
        }
        if let Some(wait_ms) = ack_after_ms {
            let at = now_ms + wait_ms;
            self.timers.ack_at = Some(self.timers.ack_at.map_or(at, |already| already.min(at)));
        }
    }
}

impl Outgoing {
    fn push(&mut self, mut batch: Bytes, piece_bytes_max: usize) {
        loop {
            let more = batch.len() > piece_bytes_max;
            let bytes = batch.split_to(batch.len().min(piece_bytes_max));
            self.bytes += charge(&bytes);
            self.queue.push_back(Sent { piece: Piece { bytes, more }, at_ms: 0 });
            if !more {
                return;
            }
        }
    }

    /// Whether an answer is waited for.
    fn is_waiting(&self) -> bool {
        self.acknowledged < self.sent_ever
    }

    fn in_flight(&self) -> bool {
        self.acknowledged < self.sent
    }

    /// Everything that is not acknowledged is to be sent again, the first of it alone.
    fn go_back(&mut self) {
        self.sent = self.acknowledged;
        self.asked = 0..0;
        self.probing = true;
    }

    /// The pieces that may leave now: what the peer asked for, else what has not been sent.
    fn to_send(&self) -> Range<u64> {
        if !self.asked.is_empty() {
            return self.asked.clone();
        }
        if self.probing && self.in_flight() {
            return 0..0;
        }
        self.sent + 1..self.acknowledged + self.queue.len() as u64 + 1
    }

    /// As many of these as fit into so many bytes; one at least.
    fn fitting(&self, range: Range<u64>, bytes_max: usize) -> Range<u64> {
        let (mut bytes, mut end) = (0, range.start);
        while end < range.end {
            bytes += self.piece(end).bytes.len() + PIECE_HEADER_BYTES_MAX;
            if bytes > bytes_max && end > range.start {
                break;
            }
            end += 1;
        }
        range.start..end
    }

    fn bytes_of(&self, range: &Range<u64>) -> usize {
        range.clone().map(|number| self.piece(number).bytes.len() + PIECE_HEADER_BYTES_MAX).sum()
    }

    fn write(&mut self, range: &Range<u64>, now_ms: u64, out: &mut Vec<u8>) {
        for number in range.clone() {
            let sent = &mut self.queue[(number - self.acknowledged - 1) as usize];
            sent.at_ms = now_ms;
            datagram::append_piece(&sent.piece, out);
        }
        if range.is_empty() {
            return;
        }
        let last = range.end - 1;
        if self.asked.contains(&range.start) {
            self.asked.start = range.end;
        }
        // What was asked for and sent need not be sent again where sending gets to it.
        if range.start <= self.sent + 1 {
            self.sent = self.sent.max(last);
        }
        self.sent_ever = self.sent_ever.max(last);
    }

    fn piece(&self, number: u64) -> &Piece {
        &self.queue[(number - self.acknowledged - 1) as usize].piece
    }

    /// Forgets what has come and notes what is missed. Says whether anything has come.
    fn on_acknowledged(&mut self, header: &Header, now_ms: u64) -> bool {
        let acknowledged = header.acknowledged;
        if acknowledged > self.sent_ever {
            return false;
        }
        let went_on = acknowledged > self.acknowledged;
        while self.acknowledged < acknowledged {
            let Some(sent) = self.queue.pop_front() else { break };
            self.bytes -= charge(&sent.piece.bytes);
            self.acknowledged += 1;
        }
        self.sent = self.sent.max(self.acknowledged);
        self.asked.start = self.asked.start.max(self.acknowledged + 1);
        self.probing &= !went_on;
        let missed = self.acknowledged + 1..header.held_from.min(self.sent_ever + 1);
        let is_news = acknowledged == self.acknowledged && self.asked.is_empty() && !missed.is_empty();
        if is_news && self.queue[0].at_ms + ASKED_QUIET_MS <= now_ms {
            if std::mem::take(&mut self.probing) {
                self.sent = self.acknowledged;
            } else {
                self.asked = missed;
            }
        }
        went_on
    }
}

/// What became of a piece.
enum Received {
    InOrder,
    Again,
    TooEarly,
    TooLarge,
}

impl Incoming {
    fn receive(&mut self, number: u64, piece: Piece, bytes_max: usize) -> Received {
        if number <= self.received {
            return Received::Again;
        }
        if self.ready_bytes > bytes_max {
            self.turned_away = self.turned_away.max(Some(number));
            return Received::TooEarly;
        }
        if number > self.received + 1 {
            self.hold(number, piece, bytes_max);
            return Received::TooEarly;
        }
        let mut next = Some(piece);
        while let Some(piece) = next {
            self.received += 1;
            if self.partial.len() + piece.bytes.len() > BATCH_BYTES_MAX {
                return Received::TooLarge;
            }
            self.append(piece);
            next = self.held.remove(&(self.received + 1));
            self.held_bytes -= next.as_ref().map_or(0, |piece| charge(&piece.bytes));
        }
        Received::InOrder
    }

    fn hold(&mut self, number: u64, piece: Piece, bytes_max: usize) {
        let bytes = charge(&piece.bytes);
        if self.held_bytes + bytes <= bytes_max && !self.held.contains_key(&number) {
            self.held_bytes += bytes;
            self.held.insert(number, piece);
        }
    }

    fn append(&mut self, piece: Piece) {
        self.unacknowledged_bytes += charge(&piece.bytes);
        if piece.more || !self.partial.is_empty() {
            self.partial.extend_from_slice(&piece.bytes);
            if piece.more {
                return;
            }
        }
        let is_whole = self.partial.is_empty();
        let batch = if is_whole { piece.bytes } else { std::mem::take(&mut self.partial).into() };
        self.ready_bytes += charge(&batch);
        self.ready.push_back(batch);
    }

    /// The next batch is taken. Says whether there is room now for what was turned away, so that it is to be asked for.
    fn taken(&mut self, bytes_max: usize) -> bool {
        let Some(batch) = self.ready.pop_front() else { return false };
        self.ready_bytes -= charge(&batch);
        if self.ready_bytes > bytes_max / 2 {
            return false;
        }
        let Some(last) = self.turned_away.take().filter(|last| *last > self.received) else { return false };
        self.ask_before = Some(last + 1);
        true
    }
}

/// What a piece or a batch counts for in the bounds.
fn charge(bytes: &Bytes) -> usize {
    bytes.len() + PIECE_OVERHEAD_BYTES
}
