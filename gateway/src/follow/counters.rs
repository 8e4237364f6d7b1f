//! Follows the log for the counters of unread messages (`carillon_storage`'s `counters.rs` says how one is brought to what is exact).
//!
//! It gathers which rooms changed, waits until the archiver has brought those changes to the store, and then counts each such room
//! once, however much was said in it meanwhile: an update of a counter costs the servers as much as 45 rows. How far it has
//! counted is kept in the store, and the log is not trimmed of what is not counted yet: a crash counts rooms again, which adds
//! nothing, and skips none. Rooms whose updates failed are counted once more later, for a server may carry out late what it was
//! asked long ago; until that is done they count as not counted.
//!
//! A counter has one writer: in a cluster the home of its room. A home before may still be at it when the next one begins, and both add what
//! is missing: so whatever a new home counts in its first minute it counts again afterwards, when the other has long
//! stopped (`carillon_storage` adds nothing to a counter by what it read long ago).
//!
//! Counting has a share of the time, a tenth unless set otherwise, in small pieces with rests between them: so it takes about that share of
//! what the servers can do, whatever they are. Where more rooms have news than that counts in an interval, each is counted less often, and
//! more messages make one update. The log keeps what is not counted: when that fills half of it, counting rests no longer.
//!
//! Nobody waits for it. When counting fails for long it lets the log be trimmed, and compares all counters once it can again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carillon_protocol::{EventBody, RoomId, UserId, binary::decode_event};
use carillon_storage::{CountersReport, CqlStore, Partition, StoreError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::share::Wanted;
use crate::config::Config;
use crate::log::{Batch, HomeLog, Log, LogError, Positions, Record, Tail, record};
use crate::route::Route;

/// How much of the log is read at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Rooms that are gathered before they are counted, whatever the interval says.
const ROOMS_MAX: usize = 10_000;
/// Rooms that are counted without a rest, and people who have left.
const PIECE: usize = 16;
/// A piece counts for no longer than this where its rest is concerned,
const PIECE_LONGEST: Duration = Duration::from_secs(1);
/// and in a rest it looks so often whether it should go on.
const REST_LOOK: Duration = Duration::from_millis(250);
/// From here on the log is filled by what is not counted, in thousandths of what it may take.
const HURRY_PERMILLE: u64 = 500;
/// When it is stopped it counts on for so long; the rest is counted after the next start.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// After a failure it waits so long.
const RETRY: Duration = Duration::from_secs(1);
/// After so many failures in a row, some ten minutes, it no longer keeps the log from being trimmed.
const FAILURES_MAX: u32 = 600;
/// Rooms that had trouble, or another writer just before, are counted again after so long: longer than any server is frozen and
/// still asked, and than a home before takes to notice.
const SUSPECT_AFTER: Duration = Duration::from_secs(60);

/// Why counting does not go on.
#[derive(Debug, thiserror::Error)]
enum CountError {
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("counting stopped before its end")]
    Stopped,
}

/// What is counted, how often and at what cost.
#[derive(Clone, Copy, Debug)]
pub struct CountersConfig {
    /// Only rooms of at most so many members.
    pub members_max: u64,
    /// A room at most once in this time.
    pub interval: Duration,
    /// How much of the time counting may take, from 1 to 100.
    pub time_percent: u32,
}

impl CountersConfig {
    /// As a node's settings say.
    pub fn of(config: &Config) -> Self {
        Self {
            members_max: config.counters_members_max,
            interval: Duration::from_millis(config.counters_interval_ms),
            time_percent: config.counters_time_percent as u32,
        }
    }
}

/// How it is going.
#[derive(Clone, Copy, Default, Debug)]
pub struct CountersStatus {
    /// Rooms with news that are not counted yet, of what was read of the log, and people who have left one.
    pub rooms_waiting: u64,
    /// Since when the first of them has been waiting, at most.
    pub waiting_since: Option<Instant>,
    /// Rooms to be counted again, for an update failed or another node may have counted too.
    pub rooms_suspect: u64,
    /// Updates of counters, since the start.
    pub updates: u64,
}

/// Follows one log into the counters of one store.
pub struct UnreadCounters {
    log: Arc<dyn Log>,
    /// Where nodes share log and store; otherwise it follows all of the log.
    share: Option<Homes>,
    store: Arc<CqlStore>,
    config: CountersConfig,
    /// How far the store has the rows.
    applied: watch::Receiver<Positions>,
    /// How far the counters are right; the log keeps what comes after.
    counted: watch::Sender<Positions>,
    /// How far rooms were counted, some of them to be counted again.
    seen: Positions,
    tail: Option<Box<dyn Tail>>,
    /// Read from the log, not counted yet.
    gathered: Gathered,
    /// When the log was read last: what is read next may have waited since.
    gathered_at: Instant,
    suspects: Vec<Suspect>,
    failures: u32,
    /// The log may no longer have what is not counted.
    must_verify: bool,
    status: watch::Sender<CountersStatus>,
    stop: Shared<BoxFuture<'static, ()>>,
    /// Once it is stopped.
    stop_at: Option<Instant>,
}

/// The partitions that this node is the home of.
struct Homes {
    log: Arc<dyn HomeLog>,
    wanted: watch::Receiver<Wanted>,
    /// Those that the tail is of, and until when others may have been at their counters; nothing before it is known how far
    /// those are.
    since: Option<BTreeMap<Partition, Instant>>,
}

/// What is to be counted again.
struct Suspect {
    at: Instant,
    what: Counted,
    partition: Partition,
}

/// Something to count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    /// A room's members.
    Room(RoomId),
    /// Somebody who has left one.
    Gone(UserId, RoomId),
}

#[derive(Default)]
struct Gathered {
    since: Option<Instant>,
    waiting: BTreeMap<Counted, Partition>,
    positions: BTreeMap<Partition, u64>,
}

impl UnreadCounters {
    /// Goes on from `counted`.
    pub fn new(
        log: Arc<dyn Log>,
        store: Arc<CqlStore>,
        config: CountersConfig,
        applied: watch::Receiver<Positions>,
        counted: watch::Sender<Positions>,
    ) -> Self {
        let seen = counted.borrow().clone();
        Self {
            log,
            share: None,
            store,
            config,
            applied,
            counted,
            seen,
            tail: None,
            gathered: Gathered::default(),
            gathered_at: Instant::now(),
            suspects: Vec::new(),
            failures: 0,
            must_verify: false,
            status: watch::Sender::default(),
            stop: std::future::pending().boxed().shared(),
            stop_at: None,
        }
    }

    /// Only what this node is the home of.
    pub fn of_homes(self, log: Arc<dyn HomeLog>, wanted: watch::Receiver<Wanted>) -> Self {
        Self { share: Some(Homes { log, wanted, since: None }), ..self }
    }

    /// How it is going, as it changes.
    pub fn status(&self) -> watch::Receiver<CountersStatus> {
        self.status.subscribe()
    }

    /// Counts until `stop` resolves, then once more what was archived by then.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send + 'static) {
        self.stop = stop.boxed().shared();
        while !self.is_stopping() {
            let pause = match self.step().await {
                Ok(()) => self.config.interval,
                Err(_) => RETRY,
            };
            self.pause(pause).await;
        }
        // What fails here, or takes long, is counted after the next start.
        let _ = self.count_all().await;
    }

    /// Whether it is to stop: from when that is first seen on it counts for a while longer.
    fn is_stopping(&mut self) -> bool {
        if self.stop_at.is_none() && self.stop.clone().now_or_never().is_some() {
            self.stop_at = Some(Instant::now() + STOP_WITHIN);
        }
        self.stop_at.is_some()
    }

    fn go_on(&mut self) -> Result<(), CountError> {
        let is_over = self.is_stopping() && self.stop_at.is_some_and(|at| at <= Instant::now());
        if is_over { Err(CountError::Stopped) } else { Ok(()) }
    }

    /// Ends when it is to stop as well.
    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            () = self.stop.clone() => {}
            () = sleep(time) => {}
        }
    }

    async fn step(&mut self) -> Result<(), CountError> {
        let counted = self.count_all().await;
        match &counted {
            Ok(()) if self.failures > 0 => tracing::info!("counting unread messages goes on"),
            Err(error) if self.failures == 0 && self.stop_at.is_none() => {
                tracing::warn!(%error, "counting unread messages fails; it is tried again");
            }
            _ => {}
        }
        self.failures = if counted.is_ok() { 0 } else { self.failures + 1 };
        if self.failures == FAILURES_MAX {
            tracing::warn!("the log is no longer kept for the counters; all of them will be compared");
            self.must_verify = true;
            self.counted.send_modify(|counted| counted.fill(u64::MAX));
        }
        counted
    }

    async fn count_all(&mut self) -> Result<(), CountError> {
        self.follow_homes().await?;
        if self.must_verify {
            self.verify().await?;
        }
        while self.gather()? {
            self.count().await?;
            self.go_on()?;
        }
        self.count().await
    }

    /// Where this node is the home of others now, goes on with those, from where the counters are right.
    async fn follow_homes(&mut self) -> Result<(), StoreError> {
        let Some(share) = &mut self.share else { return Ok(()) };
        let homes = share.wanted.borrow_and_update().homes();
        if share.since.as_ref().is_some_and(|since| since.keys().eq(&homes)) {
            return Ok(());
        }
        let stored = self.store.counted(self.seen.len() as Partition).await?;
        let before = share.since.take().unwrap_or_default();
        let until = Instant::now() + SUSPECT_AFTER;
        for &partition in homes.iter().filter(|partition| !before.contains_key(partition)) {
            let place = usize::from(partition);
            self.seen[place] = stored[place];
            self.counted.send_modify(|counted| counted[place] = stored[place]);
        }
        let stays = |partition: &Partition| before.contains_key(partition) && homes.contains(partition);
        self.gathered.waiting.retain(|_, partition| stays(partition));
        self.gathered.positions.retain(|partition, _| stays(partition));
        self.suspects.retain(|suspect| homes.contains(&suspect.partition));
        let since = |partition| (partition, before.get(&partition).copied().unwrap_or(until));
        share.since = Some(homes.into_iter().map(since).collect());
        self.tail = None;
        Ok(())
    }

    /// Compares all counters that this node writes: nothing in the log says any more which would do.
    async fn verify(&mut self) -> Result<(), CountError> {
        (self.gathered, self.tail, self.suspects) = (Gathered::default(), None, Vec::new());
        let from = self.applied.borrow().clone();
        let is_here: Vec<bool> =
            (0..from.len() as Partition).map(|partition| self.is_followed(partition)).collect();
        let route = Route::alone(from.len() as Partition, 1);
        let is_one = {
            let is_here = is_here.clone();
            move |room| is_here[usize::from(route.partition_of_room(room))]
        };
        let report = self.store.verify_counters_of(is_one, self.config.members_max, true).await?;
        self.status.send_modify(|status| status.updates += report.mended);
        if report.ambiguous > 0 {
            return Err(StoreError::Unavailable("some counters could not be compared".into()).into());
        }
        let here = from.iter().zip(is_here).map(|(&position, is_here)| if is_here { position } else { 0 });
        self.store.set_counted(&here.collect()).await?;
        self.seen.clone_from(&from);
        self.counted.send_replace(from);
        self.must_verify = false;
        Ok(())
    }

    fn is_followed(&self, partition: Partition) -> bool {
        let since = self.share.as_ref().map(|share| &share.since);
        since.is_none_or(|since| since.as_ref().is_some_and(|since| since.contains_key(&partition)))
    }

    /// Reads on, not further beyond what the store has than one chunk; whether there are so many rooms that they should be counted
    /// first.
    fn gather(&mut self) -> Result<bool, LogError> {
        let since = std::mem::replace(&mut self.gathered_at, Instant::now());
        loop {
            if !self.gathered.is_within(&self.applied.borrow()) {
                return Ok(false);
            }
            let mut tail = match self.tail.take() {
                Some(tail) => tail,
                None => self.open_tail().inspect_err(|error| self.cannot_read(error))?,
            };
            let batches = tail.read(CHUNK_BYTES).inspect_err(|error| self.cannot_read(error))?;
            self.tail = Some(tail);
            if batches.is_empty() {
                return Ok(false);
            }
            batches.iter().for_each(|batch| self.gathered.add(batch, since));
            if self.gathered.waiting.len() >= ROOMS_MAX {
                return Ok(true);
            }
        }
    }

    /// Goes on behind what was read already.
    fn open_tail(&self) -> Result<Box<dyn Tail>, LogError> {
        let mut after = self.seen.clone();
        for (&partition, &position) in &self.gathered.positions {
            after[usize::from(partition)] = position;
        }
        match &self.share {
            Some(Homes { log, since, .. }) => {
                let partitions: Vec<_> = since.iter().flatten().map(|(&partition, _)| partition).collect();
                log.tail_of(&partitions, &after)
            }
            None => self.log.tail(after),
        }
    }

    /// What is forgotten, or another log, can be made up for by comparing everything alone; all else may be over soon.
    fn cannot_read(&mut self, error: &LogError) {
        self.must_verify |= matches!(error, LogError::Forgotten { .. } | LogError::Ahead { .. });
    }

    async fn count(&mut self) -> Result<(), CountError> {
        let now = Instant::now();
        let due = self.suspects.extract_if(.., |suspect| suspect.at <= now);
        self.gathered.waiting.extend(due.map(|suspect| (suspect.what, suspect.partition)));
        if self.gathered.is_empty() {
            self.gathered = Gathered::default();
            self.tell();
            return Ok(());
        }
        self.tell();
        self.wait_for_rows().await?;
        while !self.gathered.waiting.is_empty() {
            self.go_on()?;
            self.tell();
            // What is not this node's any more its next home counts.
            self.follow_homes().await?;
            let began = Instant::now();
            self.count_piece().await?;
            self.rest(began.elapsed()).await;
        }
        for (&partition, &position) in &self.gathered.positions {
            self.seen[usize::from(partition)] = position;
        }
        self.gathered = Gathered::default();
        self.tell();
        self.note_counted().await?;
        Ok(())
    }

    /// Some rooms, and some who have left; what fails stays gathered.
    async fn count_piece(&mut self) -> Result<(), StoreError> {
        let piece: Vec<_> = self.gathered.waiting.iter().take(PIECE).map(|(&what, &of)| (what, of)).collect();
        let (mut rooms, mut gone) = (Vec::new(), Vec::new());
        for (what, _) in &piece {
            match *what {
                Counted::Room(room) => rooms.push(room),
                Counted::Gone(user, room) => gone.push((user, room)),
            }
        }
        let began = Instant::now();
        let counted = self.store.count_unread(rooms, gone, self.config.members_max).await;
        self.suspect(&piece, began, counted.as_ref().ok());
        let report = counted?;
        self.status.send_modify(|status| status.updates += report.mended + report.ambiguous);
        piece.iter().for_each(|(what, _)| _ = self.gathered.waiting.remove(what));
        Ok(())
    }

    /// As long as makes what was just done its share of the time; not longer than until the log fills, or this node is the home of
    /// others.
    async fn rest(&mut self, took: Duration) {
        // A piece that took longer waited for something; the servers had little to do meanwhile.
        let took = took.min(PIECE_LONGEST);
        let until = Instant::now() + (took * 100 / self.config.time_percent.max(1)).saturating_sub(took);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_urgent = self.log.status().used_permille >= HURRY_PERMILLE;
            let has_moved =
                self.share.as_ref().is_some_and(|share| share.wanted.has_changed().unwrap_or(false));
            if left.is_zero() || is_urgent || has_moved || self.is_stopping() {
                return;
            }
            self.pause(left.min(REST_LOOK)).await;
        }
    }

    fn tell(&self) {
        self.status.send_modify(|status| {
            status.rooms_waiting = self.gathered.waiting.len() as u64;
            status.waiting_since = self.gathered.since;
            status.rooms_suspect = self.suspects.len() as u64;
        });
    }

    /// What was just counted is to be counted again where an update failed, or where another node may have been at it. Updates may
    /// have been sent until now.
    fn suspect(&mut self, piece: &[(Counted, Partition)], began: Instant, report: Option<&CountersReport>) {
        let is_sure = report.is_some_and(|report| report.ambiguous == 0);
        let since = self.share.as_ref().and_then(|share| share.since.as_ref());
        let is_new = |partition: &Partition| {
            since.and_then(|since| since.get(partition)).is_some_and(|&until| began < until)
        };
        let suspects = piece.iter().copied().filter(|(_, partition)| !is_sure || is_new(partition));
        let suspects: BTreeMap<Counted, Partition> = suspects.collect();
        self.suspects.retain(|suspect| !suspects.contains_key(&suspect.what));
        let at = Instant::now() + SUSPECT_AFTER;
        self.suspects.extend(suspects.into_iter().map(|(what, partition)| Suspect { at, what, partition }));
    }

    /// Everything that was counted and need not be again is done with, in the store as well.
    async fn note_counted(&mut self) -> Result<(), StoreError> {
        let waiting: BTreeSet<Partition> = self.suspects.iter().map(|suspect| suspect.partition).collect();
        let before = self.counted.borrow().clone();
        let is_done = |partition: &Partition| self.is_followed(*partition) && !waiting.contains(partition);
        let mut news = vec![0; before.len()];
        for partition in (0..before.len() as Partition).filter(is_done) {
            let place = usize::from(partition);
            if self.seen[place] > before[place] {
                news[place] = self.seen[place];
            }
        }
        self.store.set_counted(&news).await?;
        self.counted.send_modify(|counted| {
            counted.iter_mut().zip(&news).for_each(|(counted, &news)| *counted = news.max(*counted));
        });
        Ok(())
    }

    /// Until the store has all that was gathered.
    async fn wait_for_rows(&mut self) -> Result<(), StoreError> {
        let behind = || StoreError::Unavailable("the archiver is behind".into());
        let (stop, is_stopping) = (self.stop.clone(), self.is_stopping());
        let patience = self.config.interval.max(RETRY);
        let patience = if is_stopping { patience.min(STOP_WITHIN) } else { patience };
        let has_all = |applied: &Positions| self.gathered.is_within(applied);
        tokio::select! {
            waited = timeout(patience, self.applied.wait_for(has_all)) => match waited {
                Ok(Ok(_)) => Ok(()),
                _ => Err(behind()),
            },
            () = stop, if !is_stopping => Err(behind()),
        }
    }
}

impl Gathered {
    /// Whether a store that has everything up to `applied` has the rows of all of it.
    fn is_within(&self, applied: &Positions) -> bool {
        self.positions.iter().all(|(&partition, &position)| applied[usize::from(partition)] >= position)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.positions.is_empty()
    }

    /// Counts as waiting since `since`. What cannot be read the archiver sets aside.
    fn add(&mut self, batch: &Batch, since: Instant) {
        let partition = batch.partition;
        self.since.get_or_insert(since);
        self.positions.insert(partition, batch.position);
        for record in record::records(&batch.records).map_while(Result::ok) {
            match record {
                Record::Read { room, .. } => _ = self.waiting.insert(Counted::Room(room), partition),
                Record::Event { event, .. } => {
                    let Ok(event) = decode_event(event) else { continue };
                    self.waiting.insert(Counted::Room(event.room), partition);
                    let gone = match event.body {
                        EventBody::MemberRemoved { user } => user,
                        EventBody::MemberLeft => event.sender,
                        _ => continue,
                    };
                    self.waiting.insert(Counted::Gone(gone, event.room), partition);
                }
            }
        }
    }
}
