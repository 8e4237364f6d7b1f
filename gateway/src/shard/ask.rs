//! Questions to other shards, outside the path of a message: asked by tasks that wait for the answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::message::{Answer, Question};

/// Asks on behalf of one shard's tasks. Clones ask for the same shard.
#[derive(Clone, Default)]
pub struct Asker(Rc<Inner>);

#[derive(Default)]
struct Inner {
    last: Cell<u64>,
    asked: RefCell<Vec<(u16, u64, Question)>>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Asker {
    /// Asks a shard (its own too) and waits for the answer.
    pub async fn ask(&self, shard: u16, question: Question) -> Answer {
        let number = self.0.last.get() + 1;
        self.0.last.set(number);
        let (answer, answered) = oneshot::channel();
        self.0.waiting.borrow_mut().insert(number, answer);
        self.0.asked.borrow_mut().push((shard, number, question));
        answered.await.unwrap_or_else(|_| Answer::Failed("the shard has stopped".into()))
    }

    /// Whether something was asked that was not handed on.
    pub fn has_asked(&self) -> bool {
        !self.0.asked.borrow().is_empty()
    }

    /// What was asked since the last time, for the shard to hand on.
    pub fn take_asked(&self) -> Vec<(u16, u64, Question)> {
        std::mem::take(&mut self.0.asked.borrow_mut())
    }

    /// An answer has come.
    pub fn told(&self, number: u64, answer: Answer) {
        if let Some(waiting) = self.0.waiting.borrow_mut().remove(&number) {
            // A task that was dropped wants no answer.
            let _ = waiting.send(answer);
        }
    }
}
