//! Questions to other shards, of this node and of others, outside the path of a message: asked by tasks that wait for the answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::message::{Answer, Question};
use crate::cluster::view::NodeId;
use crate::route::Place;

/// How soon a question is asked again that came to a home that has moved.
pub const TRY_AGAIN_AFTER: Duration = Duration::from_millis(25);
/// How often; after that the home counts as not to be had.
pub const TRIES: usize = 400;

/// Asks on behalf of one shard's tasks. Clones ask for the same shard.
#[derive(Clone, Default)]
pub struct Asker(Rc<Inner>);

#[derive(Default)]
struct Inner {
    last: Cell<u64>,
    asked: RefCell<Vec<(Place, u64, Question)>>,
    waiting: RefCell<HashMap<u64, (NodeId, oneshot::Sender<Answer>)>>,
}

impl Asker {
    /// Asks a shard (its own too) and waits for the answer.
    pub async fn ask(&self, place: Place, question: Question) -> Answer {
        let number = self.0.last.get() + 1;
        self.0.last.set(number);
        let (answer, answered) = oneshot::channel();
        self.0.waiting.borrow_mut().insert(number, (place.node, answer));
        self.0.asked.borrow_mut().push((place, number, question));
        answered.await.unwrap_or_else(|_| Answer::Failed("the shard has stopped".into()))
    }

    /// Asks whoever the home is, until it is there that the question comes to.
    pub async fn ask_home(&self, home: impl Fn() -> Place, question: Question) -> Answer {
        for _ in 0..TRIES {
            match self.ask(home(), question.clone()).await {
                Answer::Moved => tokio::time::sleep(TRY_AGAIN_AFTER).await,
                answer => return answer,
            }
        }
        Answer::Moved
    }

    /// A node is gone, or what was on its way to or from it: whoever waits for its answer asks again.
    pub fn lost(&self, node: NodeId) {
        let mut waiting = self.0.waiting.borrow_mut();
        for (_, (_, sender)) in waiting.extract_if(|_, (asked, _)| *asked == node) {
            let _ = sender.send(Answer::Moved);
        }
    }

    /// Whether something was asked that was not handed on.
    pub fn has_asked(&self) -> bool {
        !self.0.asked.borrow().is_empty()
    }

    /// What was asked since the last time, for the shard to hand on.
    pub fn take_asked(&self) -> Vec<(Place, u64, Question)> {
        std::mem::take(&mut self.0.asked.borrow_mut())
    }

    /// An answer has come.
    pub fn told(&self, number: u64, answer: Answer) {
        if let Some((_, waiting)) = self.0.waiting.borrow_mut().remove(&number) {
            // A task that was dropped wants no answer.
            let _ = waiting.send(answer);
        }
    }
}
