//! Reading a file log while it is written. A tail has files of its own and takes nothing from the writer but
//! the word on what is durable.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use tokio::sync::watch;

use super::disk::{Disk, DiskFile};
use super::segment::{self, FRAME_HEADER_LEN, HEADER_LEN, Header};
use super::{Place, State, prepare};
use crate::log::{Batch, LogError, Positions, Tail, check_reachable};

pub(super) struct FileTail {
    disk: Arc<dyn Disk>,
    state: watch::Receiver<State>,
    /// The next frame to read.
    place: Place,
    segment: Option<OpenSegment>,
    /// The last position handed out of each partition.
    after: Positions,
    /// Batches of the last frame that were not handed out yet.
    ahead: VecDeque<Batch>,
}

struct OpenSegment {
    sequence: u64,
    file: Box<dyn DiskFile>,
    header: Header,
}

impl FileTail {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        state: watch::Receiver<State>,
        place: Place,
        after: Positions,
    ) -> Self {
        Self { disk, state, place, segment: None, after, ahead: VecDeque::new() }
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, LogError> {
        loop {
            while let Some(batch) = self.ahead.pop_front() {
                let after = &mut self.after[usize::from(batch.partition)];
                if batch.position > *after {
                    *after = batch.position;
                    return Ok(Some(batch));
                }
            }
            if !self.next_frame()? {
                return Ok(None);
            }
        }
    }

    /// Takes in the next durable frame, if there is one.
    fn next_frame(&mut self) -> Result<bool, LogError> {
        let end = self.state.borrow_and_update().end;
        while self.place < end {
            let segment = self.open()?;
            let is_last = self.place.sequence == end.sequence;
            let frame = segment.frame(self.place.offset).map_err(|error| self.io(error))?;
            match frame {
                Frame::Whole { batches, len } => {
                    self.ahead = batches.into();
                    self.place.offset += len;
                    self.segment = Some(segment);
                    return Ok(true);
                }
                Frame::None if !is_last => self.place = Place::start_of(self.place.sequence + 1),
                Frame::None | Frame::Broken => {
                    return Err(self.corrupt("this frame was whole when it was written"));
                }
            }
        }
        Ok(false)
    }

    /// The segment of `place`; the caller puts it back if it wants it again.
    fn open(&mut self) -> Result<OpenSegment, LogError> {
        let sequence = self.place.sequence;
        if let Some(segment) = self.segment.take_if(|segment| segment.sequence == sequence) {
            return Ok(segment);
        }
        let file = match self.disk.open(&prepare::name(sequence)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.forgotten(error)),
            other => other.map_err(|error| self.io(error))?,
        };
        let bytes = file.read_up_to(HEADER_LEN, 0).map_err(|error| self.io(error))?;
        let header = Header::decode(&bytes).map_err(|_| self.corrupt("the header is gone"))?;
        Ok(OpenSegment { sequence, file, header })
    }

    /// The segment was trimmed before this tail got to it, or is missing for no good reason.
    fn forgotten(&self, error: io::Error) -> LogError {
        let state = self.state.borrow();
        let base = state.segments.front().map_or(&state.last, |oldest| &oldest.base);
        check_reachable(&self.after, base, &state.last).err().unwrap_or_else(|| self.io(error))
    }

    fn io(&self, source: io::Error) -> LogError {
        LogError::Io { place: self.disk.describe(&prepare::name(self.place.sequence)), source }
    }

    fn corrupt(&self, what: &str) -> LogError {
        let place = self.disk.describe(&prepare::name(self.place.sequence));
        LogError::Corrupt { place, offset: self.place.offset, what: what.to_owned() }
    }
}

impl Tail for FileTail {
    fn read(&mut self, bytes_max: usize) -> Result<Vec<Batch>, LogError> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        while read.is_empty() || bytes < bytes_max {
            let Some(batch) = self.next_batch()? else { break };
            bytes += batch.records.len();
            read.push(batch);
        }
        Ok(read)
    }

    fn more(&mut self) -> BoxFuture<'_, ()> {
        async {
            let place = self.place;
            if self.ahead.is_empty() && self.state.wait_for(|state| state.end > place).await.is_err() {
                future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// What is at a place of a segment.
enum Frame {
    Whole {
        batches: Vec<Batch>,
        len: u64,
    },
    /// Zeroes, or not even room for a frame.
    None,
    Broken,
}

impl OpenSegment {
    fn frame(&self, offset: u64) -> io::Result<Frame> {
        let start = self.file.read_up_to(FRAME_HEADER_LEN, offset)?;
        if start.len() < FRAME_HEADER_LEN || start.iter().all(|&byte| byte == 0) {
            return Ok(Frame::None);
        }
        let Some(len) = segment::frame_len(&start, offset) else { return Ok(Frame::Broken) };
        // No more than the file has is allocated, whatever length is claimed.
        let bytes = self.file.read_up_to(len, offset)?;
        Ok(self
            .batches(&bytes, offset)
            .map_or(Frame::Broken, |batches| Frame::Whole { batches, len: len as u64 }))
    }

    fn batches(&self, bytes: &[u8], offset: u64) -> Option<Vec<Batch>> {
        let (payload, _) = segment::frame_payload(bytes, self.header.salt, offset)?;
        if offset > HEADER_LEN as u64 {
            return segment::batches(payload);
        }
        segment::split_base(payload, self.header.partitions)
            .and_then(|(_, batches)| segment::batches(batches))
    }
}
