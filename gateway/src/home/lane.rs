//! What is under way together: the appends of a lane become durable in their order, and when one fails, all behind it do.
//!
//! Where a log takes a group of several partitions as one, a shard has one lane; where each partition is settled by
//! itself, it has one for each, and one that fails or waits keeps no other back.

use std::collections::VecDeque;

use carillon_protocol::RoomId;

use super::ledger::{After, Undo};
use crate::log::AppendError;

/// Names a lane of a shard.
pub type LaneId = u16;

/// The appends of some partitions, from the oldest that is under way.
#[derive(Default)]
pub struct Lane {
    in_flight: VecDeque<Appending>,
    /// How many began before the oldest that is under way.
    done: u64,
    /// After a failed append: what is under way settles before anything new is taken.
    pub settling: Option<Settling>,
}

/// One append that is under way.
pub struct Appending {
    /// What is owed once it is durable.
    pub after: Vec<After>,
    /// What is taken back when it never is.
    pub undo: Vec<Undo>,
    /// How many requests wait for it.
    pub requests: usize,
    result: Option<Result<(), AppendError>>,
}

/// What failed appends leave to be taken back.
#[derive(Default)]
pub struct Settling {
    /// The last first.
    pub undo: Vec<Undo>,
    /// Rooms that go back to what is durable.
    pub rooms: Vec<RoomId>,
}

impl Lane {
    /// A lane whose first append has that number, so that what comes back of an earlier lane is not taken for one of this.
    pub fn starting_at(number: u64) -> Self {
        Self { done: number, ..Self::default() }
    }

    /// An append begins; its number among the lane's.
    pub fn begin(&mut self, after: Vec<After>, undo: Vec<Undo>, requests: usize) -> u64 {
        self.in_flight.push_back(Appending { after, undo, requests, result: None });
        self.done + self.in_flight.len() as u64 - 1
    }

    /// An append came to something, perhaps before one that began earlier.
    pub fn came_to(&mut self, number: u64, result: Result<(), AppendError>) {
        let place = number.wrapping_sub(self.done) as usize;
        if let Some(appending) = self.in_flight.get_mut(place) {
            appending.result = Some(result);
        }
    }

    /// The oldest append, once it is known what became of it.
    pub fn next_settled(&mut self) -> Option<(Appending, Result<(), AppendError>)> {
        let result = self.in_flight.front_mut()?.result.take()?;
        self.done += 1;
        self.in_flight.pop_front().map(|appending| (appending, result))
    }

    /// The append that began last, if it is under way.
    pub fn last(&mut self) -> Option<&mut Appending> {
        self.in_flight.back_mut()
    }

    /// What is under way, given up.
    pub fn into_appendings(self) -> impl Iterator<Item = Appending> {
        self.in_flight.into_iter()
    }

    /// How many appends are under way.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// How many requests wait for them.
    pub fn requests(&self) -> usize {
        self.in_flight.iter().map(|appending| appending.requests).sum()
    }
}
