//! Follows the log for the counters of unread messages (`carillon_storage`'s `counters.rs` says how one is brought to what is exact).
//!
//! It gathers which rooms changed, waits until the archiver has brought those changes to the store, and then counts each such room
//! once, however much was said in it meanwhile: an update of a counter costs the servers as much as 45 rows. How far it has
//! counted is kept in the store, and the log is not trimmed of what is not counted yet: a crash counts rooms again, which adds
//! nothing, and skips none. Rooms whose updates failed are counted once more later, for a server may carry out late what it was
//! asked long ago.
//!
//! Nobody waits for it. When counting fails for long it lets the log be trimmed, and compares all counters once it can again.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use carillon_protocol::{EventBody, RoomId, UserId, binary::decode_event};
use carillon_storage::{CqlStore, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::log::{Batch, Log, LogError, Positions, Record, Tail, record};

/// How much of the log is read at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Rooms that are gathered before they are counted, whatever the interval says.
const ROOMS_MAX: usize = 10_000;
/// After a failure it waits so long.
const RETRY: Duration = Duration::from_secs(1);
/// After so many failures in a row, some ten minutes, it no longer keeps the log from being trimmed.
const FAILURES_MAX: u32 = 600;
/// Rooms that had trouble are counted again after so long: longer than any server is frozen and still asked.
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
    store: Arc<CqlStore>,
    members_max: u64,
    interval: Duration,
    /// How far the store has the rows.
    applied: watch::Receiver<Positions>,
    /// How far the counters are right; the log keeps what comes after.
    counted: watch::Sender<Positions>,
    tail: Option<Box<dyn Tail>>,
    /// Read from the log, not counted yet.
    gathered: Gathered,
    suspects: Vec<(Instant, RoomId)>,
    failures: u32,
    /// The log may no longer have what is not counted.
    must_verify: bool,
}

#[derive(Default)]
struct Gathered {
    rooms: BTreeSet<RoomId>,
    gone: BTreeSet<(UserId, RoomId)>,
    positions: BTreeMap<u16, u64>,
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
        Self {
            log,
            store,
            members_max,
            interval,
            applied,
            counted,
            tail: None,
            gathered: Gathered::default(),
            suspects: Vec::new(),
            failures: 0,
            must_verify: false,
        }
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
        if self.must_verify {
            self.gathered = Gathered::default();
            (self.tail, self.suspects) = (None, Vec::new());
            let from = self.applied.borrow().clone();
            self.store.verify_counters(self.members_max, true).await?;
            self.store.set_counted(&from).await?;
            self.counted.send_replace(from);
            self.must_verify = false;
        }
        while self.gather()? {
            self.count().await?;
        }
        self.count().await
    }

    /// Reads on; whether there are so many rooms that they should be counted first.
    fn gather(&mut self) -> Result<bool, LogError> {
        loop {
            let mut tail = match self.tail.take() {
                Some(tail) => tail,
                None => match self.log.tail(self.counted.borrow().clone()) {
                    Ok(tail) => tail,
                    Err(error) => {
                        self.must_verify = true;
                        return Err(error);
                    }
                },
            };
            let batches = tail.read(CHUNK_BYTES)?;
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

    async fn count(&mut self) -> Result<(), CountError> {
        let now = Instant::now();
        let due = self.suspects.extract_if(.., |(at, _)| *at <= now).map(|(_, room)| room);
        self.gathered.rooms.extend(due);
        if self.gathered.rooms.is_empty() {
            return Ok(());
        }
        self.wait_for_rows().await?;
        let rooms: Vec<_> = self.gathered.rooms.iter().copied().collect();
        let gone: Vec<_> = self.gathered.gone.iter().copied().collect();
        let again = now + SUSPECT_AFTER;
        let counted = self.store.count_unread(rooms.clone(), gone, self.members_max).await;
        if !counted.as_ref().is_ok_and(|report| report.ambiguous == 0) {
            self.suspects.retain(|(_, room)| !self.gathered.rooms.contains(room));
            self.suspects.extend(rooms.into_iter().map(|room| (again, room)));
        }
        counted?;
        let mut positions = self.counted.borrow().clone();
        for (&partition, &position) in &self.gathered.positions {
            positions[usize::from(partition)] = position;
        }
        self.store.set_counted(&positions).await?;
        self.counted.send_replace(positions);
        self.gathered = Gathered::default();
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
                Record::Read { room, .. } => drop(self.rooms.insert(room)),
                Record::Event { event, .. } => {
                    let Ok(event) = decode_event(event) else { continue };
                    self.rooms.insert(event.room);
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
