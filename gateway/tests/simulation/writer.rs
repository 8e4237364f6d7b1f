//! A node's side of one partition's log: what `log/jetstream/writer.rs` does, as a list of what happens next. One thing is under
//! way at a time; what became of an append without an answer is found out before anything else is done.

use std::collections::VecDeque;

use carillon_gateway::cluster::view::NodeId;
use carillon_gateway::home::lane::LaneId;
use carillon_gateway::log::{AppendError, Batch, Partition, TakenOver};

use super::log::{Author, End, Message};

/// How long an answer is waited for.
pub const ATTEMPT_MS: u64 = 150;
/// How long until something is tried again.
const AGAIN_MS: u64 = 20;

/// An append of a home, and how the home knows it.
#[derive(Clone, Debug)]
pub struct Append {
    pub shard: u16,
    pub lane: LaneId,
    pub number: u64,
    pub batch: Batch,
}

pub enum Command {
    Append(Append),
    /// By whom it is taken, among the tries to.
    Take(u64),
    Release,
}

/// What the network brings back, or time.
#[derive(Clone, Debug)]
pub enum Heard {
    Stored(u64),
    NotNext,
    Full,
    End(Option<End>),
    Nothing,
}

/// What is to be done for a writer. Its answer carries the number.
pub enum Act {
    Publish {
        number: u64,
        expected: u64,
        message: Message,
    },
    AskEnd {
        number: u64,
    },
    /// [`Heard::Nothing`] after so long.
    Wake {
        number: u64,
        after_ms: u64,
    },
    Appended(Append, Result<(), AppendError>),
    Taken(u64, TakenOver),
    /// An append's fate was not known for a while.
    WasAmbiguous,
}

#[derive(Clone, Copy)]
struct Held {
    epoch: u64,
    number: u64,
    sequence: u64,
    position: u64,
}

enum Busy {
    Storing { append: Append, author: Author, expected: u64, is_ambiguous: bool, step: Step },
    Taking { by: u64, before: Option<End>, step: Step },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Publishing,
    Finding,
    Resting,
}

pub struct Writer {
    node: NodeId,
    partition: Partition,
    held: Option<Held>,
    queue: VecDeque<Command>,
    busy: Option<Busy>,
    /// Of what is waited for.
    number: u64,
    /// Up to where deliveries were handed out, for the next message.
    pub delivered: u64,
}

impl Writer {
    pub fn new(node: NodeId, partition: Partition) -> Self {
        Self { node, partition, held: None, queue: VecDeque::new(), busy: None, number: 0, delivered: 0 }
    }

    pub fn send(&mut self, command: Command) {
        self.queue.push_back(command);
    }

    /// Begins what waits, until something is under way.
    pub fn go_on(&mut self, acts: &mut Vec<Act>) {
        while self.busy.is_none()
            && let Some(command) = self.queue.pop_front()
        {
            match command {
                Command::Append(append) => self.append(append, acts),
                Command::Take(by) => {
                    self.held = None;
                    self.busy = Some(Busy::Taking { by, before: None, step: Step::Finding });
                    self.ask_end(acts);
                }
                Command::Release => self.held = None,
            }
        }
    }

    fn append(&mut self, append: Append, acts: &mut Vec<Act>) {
        let Some(held) = self.held else {
            return acts.push(Act::Appended(append, Err(AppendError::Deposed(self.partition))));
        };
        let (found, expected) = (append.batch.position, held.position + 1);
        if found != expected {
            let error = AppendError::NotNext { partition: self.partition, expected, found };
            return acts.push(Act::Appended(append, Err(error)));
        }
        let author = Author { node: self.node, epoch: held.epoch, number: held.number };
        let (expected, step) = (held.sequence, Step::Publishing);
        self.busy = Some(Busy::Storing { append, author, expected, is_ambiguous: false, step });
        self.publish(acts);
    }

    fn publish(&mut self, acts: &mut Vec<Act>) {
        let (delivered, node) = (self.delivered, self.node);
        let (expected, message) = match &mut self.busy {
            Some(Busy::Storing { append, author, expected, step, .. }) => {
                *step = Step::Publishing;
                let (last, batch) = (append.batch.position, Some(append.batch.clone()));
                (*expected, Message { author: *author, delivered, last, batch })
            }
            Some(Busy::Taking { before, step, .. }) => {
                *step = Step::Publishing;
                let epoch = before.map_or(0, |end| end.author.epoch) + 1;
                let author = Author { node, epoch, number: 0 };
                let delivered = delivered.max(before.map_or(0, |end| end.delivered));
                let last = before.map_or(0, |end| end.last);
                (before.map_or(0, |end| end.sequence), Message { author, delivered, last, batch: None })
            }
            None => return,
        };
        self.number += 1;
        acts.push(Act::Publish { number: self.number, expected, message });
        acts.push(Act::Wake { number: self.number, after_ms: ATTEMPT_MS });
    }

    fn ask_end(&mut self, acts: &mut Vec<Act>) {
        self.step(Step::Finding);
        acts.push(Act::AskEnd { number: self.number });
        acts.push(Act::Wake { number: self.number, after_ms: ATTEMPT_MS });
    }

    fn rest(&mut self, acts: &mut Vec<Act>) {
        self.step(Step::Resting);
        acts.push(Act::Wake { number: self.number, after_ms: AGAIN_MS });
    }

    fn step(&mut self, next: Step) {
        self.number += 1;
        if let Some(Busy::Storing { step, .. } | Busy::Taking { step, .. }) = &mut self.busy {
            *step = next;
        }
    }

    /// An answer, or that there was none. `is_wanted` says whether somebody still waits for a take.
    pub fn heard(&mut self, number: u64, heard: Heard, is_wanted: impl Fn(u64) -> bool, acts: &mut Vec<Act>) {
        if number != self.number {
            return;
        }
        match self.busy.take() {
            Some(Busy::Taking { by, .. }) if !is_wanted(by) => {}
            Some(Busy::Taking { by, before, step }) => self.took(by, before, step, heard, acts),
            Some(storing) => self.stored(storing, heard, acts),
            None => {}
        }
        self.go_on(acts);
    }

    fn took(&mut self, by: u64, before: Option<End>, step: Step, heard: Heard, acts: &mut Vec<Act>) {
        self.busy = Some(Busy::Taking { by, before, step });
        match (step, heard) {
            (Step::Finding, Heard::End(end)) => {
                self.busy = Some(Busy::Taking { by, before: end, step });
                self.publish(acts);
            }
            (Step::Publishing, Heard::Stored(sequence)) => {
                self.busy = None;
                let position = before.map_or(0, |end| end.last);
                let epoch = before.map_or(0, |end| end.author.epoch) + 1;
                let delivered = before.map_or(0, |end| end.delivered);
                self.delivered = self.delivered.max(delivered);
                self.held = Some(Held { epoch, number: 1, sequence, position });
                acts.push(Act::Taken(by, TakenOver { epoch, position, delivered }));
            }
            (Step::Resting, _) => self.ask_end(acts),
            _ => self.rest(acts),
        }
    }

    fn stored(&mut self, storing: Busy, heard: Heard, acts: &mut Vec<Act>) {
        let Busy::Storing { append, author, expected, mut is_ambiguous, step } = storing else { return };
        let was_ambiguous = is_ambiguous;
        is_ambiguous |= step == Step::Publishing && matches!(heard, Heard::Nothing);
        if is_ambiguous && !was_ambiguous {
            acts.push(Act::WasAmbiguous);
        }
        let outcome = match (step, &heard) {
            (Step::Publishing, Heard::Stored(sequence)) => Some(Ok(*sequence)),
            (Step::Publishing, Heard::Full) if !is_ambiguous => Some(Err(AppendError::Full)),
            (Step::Finding, Heard::End(Some(end))) if end.sequence > expected => match end.author == author {
                true => Some(Ok(end.sequence)),
                false => Some(Err(AppendError::Deposed(self.partition))),
            },
            _ => None,
        };
        let Some(outcome) = outcome else {
            self.busy = Some(Busy::Storing { append, author, expected, is_ambiguous, step });
            return match step {
                Step::Publishing => self.ask_end(acts),
                Step::Finding => self.rest(acts),
                Step::Resting => self.publish(acts),
            };
        };
        if let Some(held) = &mut self.held {
            // A number is not used again.
            held.number += 1;
            if let Ok(sequence) = outcome {
                held.sequence = sequence;
                held.position = append.batch.position;
            }
        }
        if matches!(outcome, Err(AppendError::Deposed(_))) {
            self.held = None;
        }
        acts.push(Act::Appended(append, outcome.map(drop)));
    }
}
