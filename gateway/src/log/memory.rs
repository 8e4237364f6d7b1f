//! A log in memory: what [`FileLog`](super::FileLog) promises, until the process ends.

use std::collections::VecDeque;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use tokio::sync::watch;

use super::{
    AppendError, Batch, Log, LogError, LogStatus, Partition, Positions, Tail, advance, check_reachable,
    permille,
};

/// For tests and simulation. An append is done when the call returns.
#[derive(Debug)]
pub struct MemoryLog {
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    batches: VecDeque<Batch>,
    /// How many batches were ever forgotten: the number of `batches[0]`.
    first: u64,
    /// The last position forgotten of each partition.
    base: Positions,
    last: Positions,
    bytes_max: usize,
    status: LogStatus,
}

impl MemoryLog {
    /// An empty log that is full at `bytes_max` bytes of records.
    pub fn new(partitions: Partition, bytes_max: usize) -> Self {
        let none = vec![0; usize::from(partitions)];
        let status = LogStatus { segments: 1, ..LogStatus::default() };
        let (base, last) = (none.clone(), none);
        let state = State { batches: VecDeque::new(), first: 0, base, last, bytes_max, status };
        Self { state: watch::Sender::new(state) }
    }
}

impl Log for MemoryLog {
    fn append(&self, group: Vec<Batch>) -> BoxFuture<'static, Result<(), AppendError>> {
        let mut outcome = Ok(());
        self.state.send_modify(|state| outcome = state.append(group));
        future::ready(outcome).boxed()
    }

    fn tail(&self, after: Positions) -> Result<Box<dyn Tail>, LogError> {
        let state = self.state.subscribe();
        let next = {
            let state = state.borrow();
            check_reachable(&after, &state.base, &state.last)?;
            state.first
        };
        Ok(Box::new(MemoryTail { state, after, next }))
    }

    fn trim(&self, archived: &Positions) {
        self.state.send_modify(|state| state.trim(archived));
    }

    fn last(&self) -> Positions {
        self.state.borrow().last.clone()
    }

    fn status(&self) -> LogStatus {
        let state = self.state.borrow();
        let used_permille = permille(state.status.bytes_on_disk, state.bytes_max as u64);
        LogStatus { used_permille, ..state.status.clone() }
    }
}

impl State {
    fn append(&mut self, group: Vec<Batch>) -> Result<(), AppendError> {
        let mut next = self.last.clone();
        let bytes: usize = group.iter().map(|batch| batch.records.len()).sum();
        let outcome = match advance(&mut next, &group) {
            Ok(()) if self.status.bytes_on_disk as usize + bytes > self.bytes_max => Err(AppendError::Full),
            other => other,
        };
        if let Err(error) = &outcome {
            self.status.refused += 1;
            self.status.last_error = Some(error.to_string());
            return outcome;
        }
        self.last = next;
        self.status.groups += 1;
        self.status.batches += group.len() as u64;
        self.status.bytes_written += bytes as u64;
        self.status.bytes_on_disk += bytes as u64;
        self.batches.extend(group);
        outcome
    }

    fn trim(&mut self, archived: &Positions) {
        let is_archived = |batch: &Batch| archived.get(usize::from(batch.partition)) >= Some(&batch.position);
        while let Some(batch) = self.batches.pop_front_if(|batch| is_archived(batch)) {
            self.first += 1;
            self.base[usize::from(batch.partition)] = batch.position;
            self.status.bytes_on_disk -= batch.records.len() as u64;
        }
    }
}

struct MemoryTail {
    state: watch::Receiver<State>,
    after: Positions,
    /// The number of the next batch to look at.
    next: u64,
}

impl Tail for MemoryTail {
    fn read(&mut self, bytes_max: usize) -> Result<Vec<Batch>, LogError> {
        let state = self.state.borrow_and_update();
        if self.next < state.first {
            check_reachable(&self.after, &state.base, &state.last)?;
        }
        let mut bytes = 0;
        let mut read = Vec::new();
        let skip = self.next.saturating_sub(state.first) as usize;
        self.next = self.next.max(state.first);
        for batch in state.batches.iter().skip(skip) {
            if bytes >= bytes_max && !read.is_empty() {
                break;
            }
            self.next += 1;
            let after = &mut self.after[usize::from(batch.partition)];
            if batch.position > *after {
                *after = batch.position;
                bytes += batch.records.len();
                read.push(batch.clone());
            }
        }
        Ok(read)
    }

    fn more(&mut self) -> BoxFuture<'_, ()> {
        async {
            let next = self.next;
            let is_behind = |state: &State| state.first + state.batches.len() as u64 > next;
            if self.state.wait_for(is_behind).await.is_err() {
                future::pending::<()>().await;
            }
        }
        .boxed()
    }
}
