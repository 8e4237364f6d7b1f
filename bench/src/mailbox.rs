//! The crossing between two shards.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use carillon_gateway::config::Config;
use carillon_gateway::delivery::{Audience, Delivery};
use carillon_gateway::encoded::{Class, Encoded};
use carillon_gateway::mailbox::{Bell, Mailbox, Waker};
use carillon_gateway::shard::BELL;
use carillon_gateway::shard::message::Message;

use crate::codec::{ROOM, message};

/// A mailbox, and who sleeps at it.
pub struct Crossing {
    mailbox: Mailbox<Message>,
    poll: mio::Poll,
    delivery: Delivery,
}

impl Crossing {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let bell = Bell::new(Waker::new(mio::Waker::new(poll.registry(), BELL)?));
        let mailbox = Mailbox::new(Config::default().mailbox_batches, Arc::new(bell));
        let class = Class::Events { seq: 1 };
        let encoded = Encoded::frame(&message());
        Ok(Self {
            mailbox,
            poll,
            delivery: Delivery { room: ROOM, class, encoded, audience: Audience::Subscribers },
        })
    }

    /// A batch of deliveries is gathered, sent, and taken by one who is awake. Says how many there were.
    pub fn cross(&self, deliveries: usize) -> usize {
        assert!(self.mailbox.send(self.batch(deliveries)).is_ok(), "there is space for one");
        self.mailbox.take().map_or(0, |batch| batch.len())
    }

    /// How long it takes so many batches to get from one thread to another, which sleeps when it has nothing.
    pub fn between_threads(&mut self, batches: u64, deliveries: usize) -> Duration {
        let begun = Instant::now();
        let Self { mailbox, poll, delivery } = self;
        let sender = mailbox.clone();
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..batches {
                    send(&sender, batch(delivery, deliveries));
                }
            });
            receive(mailbox, poll, batches);
        });
        begun.elapsed()
    }

    fn batch(&self, deliveries: usize) -> Vec<Message> {
        batch(&self.delivery, deliveries)
    }
}

fn batch(delivery: &Delivery, deliveries: usize) -> Vec<Message> {
    (0..deliveries).map(|_| Message::Deliver(delivery.clone())).collect()
}

fn send(mailbox: &Mailbox<Message>, mut batch: Vec<Message>) {
    while let Err(full) = mailbox.send(batch) {
        batch = full;
        thread::yield_now();
    }
}

fn receive(mailbox: &Mailbox<Message>, poll: &mut mio::Poll, batches: u64) {
    let mut events = mio::Events::with_capacity(4);
    let mut received = 0;
    while received < batches {
        while let Some(batch) = mailbox.take() {
            drop(batch);
            received += 1;
        }
        if received < batches && mailbox.bell().doze(|| mailbox.is_empty()) {
            poll.poll(&mut events, None).expect("a poll with nothing but a waker works");
            mailbox.bell().rise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_crosses() {
        let mut crossing = Crossing::new().expect("a poll can be made");
        assert_eq!(crossing.cross(5), 5);
        crossing.between_threads(1_000, 3);
        assert!(crossing.mailbox.is_empty());
    }
}
