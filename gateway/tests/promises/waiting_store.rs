//! A store whose answers about how a room stands wait until a test lets them go, or are that it cannot tell.

use std::sync::Arc;

use carillon_protocol::RoomId;
use carillon_storage::{MemoryStore, StoreError, StoreResult};
use futures_util::future::{self, BoxFuture, FutureExt};
use tokio::sync::watch;

use crate::weak_store::{Read, WeakStore, Weakness};

pub type WaitingStore = WeakStore<Waits>;

/// What is said of rooms.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    /// All there is.
    Nothing,
    /// Nothing of this one, until there is something else here.
    Waiting(RoomId),
    /// That this one cannot be read.
    Failing(RoomId),
}

pub struct Waits(watch::Receiver<Kept>);

/// Says of rooms what `kept` has last.
pub fn waiting_store(kept: watch::Receiver<Kept>) -> Arc<WaitingStore> {
    Arc::new(WeakStore { inner: MemoryStore::new(), weakness: Waits(kept) })
}

impl Weakness for Waits {
    fn before<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, StoreResult<()>> {
        let Read::Heads(rooms) = read else { return future::ready(Ok(())).boxed() };
        let mut kept = self.0.clone();
        Box::pin(async move {
            // A test that has ended keeps nothing.
            let _ = kept.wait_for(|kept| !matches!(kept, Kept::Waiting(room) if rooms.contains(room))).await;
            if matches!(*kept.borrow(), Kept::Failing(room) if rooms.contains(&room)) {
                return Err(StoreError::Unavailable("a room cannot be read".to_owned()));
            }
            Ok(())
        })
    }
}
