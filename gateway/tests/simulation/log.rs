//! The log that all nodes share, as they find it behind the network: a partition is a list of messages, and one is taken only
//! where its writer knows the message before it.

use carillon_gateway::cluster::view::NodeId;
use carillon_gateway::log::{Batch, Partition};

/// Whose message it is, and which: a home gives each of its own another number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Author {
    pub node: NodeId,
    pub epoch: u64,
    pub number: u64,
}

/// A message: what a home appended in one go, or that it is the home now.
#[derive(Clone, Debug)]
pub struct Message {
    pub author: Author,
    /// Up to where deliveries were handed out.
    pub delivered: u64,
    /// The partition's last position with it.
    pub last: u64,
    pub batch: Option<Batch>,
}

/// What a reader of a partition's end finds.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub sequence: u64,
    pub author: Author,
    pub delivered: u64,
    pub last: u64,
}

pub struct SimLog {
    /// Whether a writer has to know the last message. Off only to see that it is noticed.
    pub is_fenced: bool,
    partitions: Vec<Vec<Message>>,
}

impl SimLog {
    pub fn new(partitions: Partition) -> Self {
        Self { is_fenced: true, partitions: (0..partitions).map(|_| Vec::new()).collect() }
    }

    /// Appends after the message of that sequence, if it is the last. The new one's sequence.
    pub fn publish(&mut self, partition: Partition, expected: u64, message: Message) -> Option<u64> {
        let messages = &mut self.partitions[usize::from(partition)];
        if self.is_fenced && messages.len() as u64 != expected {
            return None;
        }
        messages.push(message);
        Some(messages.len() as u64)
    }

    /// The last message, as a reader sees it that is so many behind.
    pub fn end(&self, partition: Partition, behind: usize) -> Option<End> {
        let messages = &self.partitions[usize::from(partition)];
        let sequence = messages.len().saturating_sub(behind);
        let message = messages.get(sequence.checked_sub(1)?)?;
        let Message { author, delivered, last, .. } = *message;
        Some(End { sequence: sequence as u64, author, delivered, last })
    }

    pub fn last(&self, partition: Partition) -> u64 {
        self.end(partition, 0).map_or(0, |end| end.last)
    }

    /// Messages after the first so many.
    pub fn after(&self, partition: Partition, count: usize) -> &[Message] {
        &self.partitions[usize::from(partition)][count..]
    }

    /// Batches after one position and up to another.
    pub fn batches(&self, partition: Partition, after: u64, up_to: u64) -> Vec<Batch> {
        let batches =
            self.partitions[usize::from(partition)].iter().filter_map(|message| message.batch.clone());
        batches.filter(|batch| batch.position > after && batch.position <= up_to).collect()
    }
}
