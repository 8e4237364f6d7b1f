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
//! Nobody waits for it. When counting fails for long it lets the log be trimmed, and compares all counters once it can again.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use carillon_protocol::{EventBody, RoomId, UserId, binary::decode_event};
use carillon_storage::{CqlStore, Partition, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::share::Wanted;
use crate::log::{Batch, HomeLog, Log, LogError, Positions, Record, Tail, record};
use crate::route::Route;

/// How much of the log is read at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Rooms that are gathered before they are counted, whatever the interval says.
const ROOMS_MAX: usize = 10_000;
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
}

/// Follows one log into the counters of one store.
pub struct UnreadCounters {
    log: Arc<dyn Log>,
    /// Where nodes share log and store; otherwise it follows all of the log.
    share: Option<Homes>,
    store: Arc<CqlStore>,
    members_max: u64,
    interval: Duration,
    /// How far the store has the rows.
    applied: watch::Receiver<Positions>,
    /// How far the counters are right; the log keeps what comes after.
    counted: watch::Sender<Positions>,
    /// How far rooms were counted, some of them to be counted again.
    seen: Positions,
    tail: Option<Box<dyn Tail>>,
    /// Read from the log, not counted yet.
    gathered: Gathered,
    suspects: Vec<Suspect>,
    failures: u32,
    /// The log may no longer have what is not counted.
    must_verify: bool,
}

/// The partitions that this node is the home of.
struct Homes {
    log: Arc<dyn HomeLog>,
    wanted: watch::Receiver<Wanted>,
    /// Those that the tail is of, and until when others may have been at their counters; nothing before it is known how far
    /// those are.
    since: Option<BTreeMap<Partition, Instant>>,
}

/// A room to be counted again.
struct Suspect {
    at: Instant,
    room: RoomId,
    partition: Partition,
}

#[derive(Default)]
struct Gathered {
    rooms: BTreeMap<RoomId, Partition>,
    gone: BTreeSet<(UserId, RoomId)>,
    positions: BTreeMap<Partition, u64>,
}

impl UnreadCounters {
    /// Goes on from `counted`, for rooms of at most `members_max` members, each of them at most once every `interval`.
    pub fn new(
        log: Arc<dyn Log>,
        store: Arc<CqlStore>,
        (members_max, interval): (u64, Duration),
        applied: watch::Receiver<Positions>,
        counted: watch::Sender<Positions>,
    ) -> Self {
        let seen = counted.borrow().clone();
        Self {
            log,
            share: None,
            store,
            members_max,
            interval,
            applied,
            counted,
            seen,
            tail: None,
            gathered: Gathered::default(),
            suspects: Vec::new(),
            failures: 0,
            must_verify: false,
        }
    }

    /// Only what this node is the home of.
    pub fn of_homes(self, log: Arc<dyn HomeLog>, wanted: watch::Receiver<Wanted>) -> Self {
        Self { share: Some(Homes { log, wanted, since: None }), ..self }
    }

    /// Counts until `stop` resolves, then once more what was archived by then.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let pause = match self.step().await {
                Ok(()) => self.interval,
                Err(_) => RETRY,
            };
            tokio::select! {
                () = &mut stop => break,
                () = sleep(pause) => {}
            }
        }
        // What fails here is counted after the next start.
        let _ = self.step().await;
    }

    async fn step(&mut self) -> Result<(), CountError> {
        let counted = self.count_all().await;
        match &counted {
            Ok(()) if self.failures > 0 => tracing::info!("counting unread messages goes on"),
            Err(error) if self.failures == 0 => {
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
        self.gathered
            .rooms
            .retain(|_, partition| before.contains_key(partition) && homes.contains(partition));
        self.gathered
            .positions
            .retain(|partition, _| before.contains_key(partition) && homes.contains(partition));
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
        self.store.verify_counters_of(is_one, self.members_max, true).await?;
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

    /// Reads on; whether there are so many rooms that they should be counted first.
    fn gather(&mut self) -> Result<bool, LogError> {
        loop {
            let mut tail = match self.tail.take() {
                Some(tail) => tail,
                None => self.open_tail().inspect_err(|error| self.cannot_read(error))?,
            };
            let batches = tail.read(CHUNK_BYTES).inspect_err(|error| self.cannot_read(error))?;
            self.tail = Some(tail);
            if batches.is_empty() {
                return Ok(false);
            }
            batches.iter().for_each(|batch| self.gathered.add(batch));
            if self.gathered.rooms.len() >= ROOMS_MAX {
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
        self.gathered.rooms.extend(due.map(|suspect| (suspect.room, suspect.partition)));
        if self.gathered.rooms.is_empty() && self.gathered.positions.is_empty() {
            return Ok(());
        }
        self.wait_for_rows().await?;
        let rooms: Vec<_> = self.gathered.rooms.keys().copied().collect();
        let gone: Vec<_> = self.gathered.gone.iter().copied().collect();
        let counted = self.store.count_unread(rooms, gone, self.members_max).await;
        let is_sure = counted.as_ref().is_ok_and(|report| report.ambiguous == 0);
        self.suspect(now, is_sure);
        counted?;
        for (&partition, &position) in &self.gathered.positions {
            self.seen[usize::from(partition)] = position;
        }
        self.gathered = Gathered::default();
        self.note_counted().await?;
        Ok(())
    }

    /// Rooms just counted are to be counted again where an update failed, or where another node may have been at it.
    fn suspect(&mut self, now: Instant, is_sure: bool) {
        let since = self.share.as_ref().and_then(|share| share.since.as_ref());
        let is_new =
            |partition| since.and_then(|since| since.get(partition)).is_some_and(|&until| now < until);
        let suspects = self.gathered.rooms.iter().filter(|(_, partition)| !is_sure || is_new(partition));
        let suspects: BTreeMap<RoomId, Partition> =
            suspects.map(|(&room, &partition)| (room, partition)).collect();
        self.suspects.retain(|suspect| !suspects.contains_key(&suspect.room));
        let at = now + SUSPECT_AFTER;
        self.suspects.extend(suspects.into_iter().map(|(room, partition)| Suspect { at, room, partition }));
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
        let wanted = self.gathered.positions.clone();
        let has_all = |applied: &Positions| {
            wanted.iter().all(|(&partition, &position)| applied[usize::from(partition)] >= position)
        };
        let waited = timeout(self.interval.max(RETRY), self.applied.wait_for(has_all)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreError::Unavailable("the archiver is behind".into())),
        }
    }
}

impl Gathered {
    /// What cannot be read the archiver sets aside.
    fn add(&mut self, batch: &Batch) {
        self.positions.insert(batch.partition, batch.position);
        for record in record::records(&batch.records).map_while(Result::ok) {
            match record {
                Record::Read { room, .. } => drop(self.rooms.insert(room, batch.partition)),
                Record::Event { event, .. } => {
                    let Ok(event) = decode_event(event) else { continue };
                    self.rooms.insert(event.room, batch.partition);
                    match event.body {
                        EventBody::MemberRemoved { user } => drop(self.gone.insert((user, event.room))),
                        EventBody::MemberLeft => drop(self.gone.insert((event.sender, event.room))),
                        _ => {}
                    }
                }
            }
        }
    }
}
