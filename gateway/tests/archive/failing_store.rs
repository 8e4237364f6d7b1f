//! A store that can be out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use carillon_storage::{Change, MemoryStore, Partition, Store, StoreError, StoreResult, Unfit};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use crate::weak_store::{WeakStore, Weakness};

pub type FailingStore = WeakStore<Failures>;

#[derive(Default)]
pub struct Failures {
    apply_fails: AtomicBool,
    persist_fails: AtomicBool,
    /// How often something failed.
    pub failures: AtomicU32,
    /// Whether it was last told to get on.
    pub hurries: AtomicBool,
    /// What is refused for itself.
    refuses: ArcSwapOption<fn(&Change) -> bool>,
}

impl Failures {
    pub fn set(&self, apply_fails: bool, persist_fails: bool) {
        self.apply_fails.store(apply_fails, Ordering::SeqCst);
        self.persist_fails.store(persist_fails, Ordering::SeqCst);
    }

    pub fn refuse(&self, is_refused: fn(&Change) -> bool) {
        self.refuses.store(Some(Arc::new(is_refused)));
    }

    fn unless<'a>(
        &'a self,
        fails: &AtomicBool,
        call: impl FnOnce() -> BoxFuture<'a, StoreResult<()>>,
    ) -> BoxFuture<'a, StoreResult<()>> {
        if fails.load(Ordering::SeqCst) {
            self.failures.fetch_add(1, Ordering::SeqCst);
            return future::ready(Err(StoreError::Unavailable("out of order".to_owned()))).boxed();
        }
        call()
    }
}

impl Weakness for Failures {
    fn apply<'a>(
        &'a self,
        store: &'a MemoryStore,
        changes: Vec<Change>,
        archived: Vec<(Partition, u64)>,
    ) -> BoxFuture<'a, StoreResult<()>> {
        let refuses = self.refuses.load_full();
        let is_refused = |change: &Change| refuses.as_ref().is_some_and(|refuses| refuses(change));
        let (refused, taken): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_refused);
        if !refused.is_empty() {
            let unfit = |change| Unfit { change, reason: "not with that in it".to_owned() };
            let unfit = refused.into_iter().map(unfit).collect();
            return async move {
                store.apply(taken, Vec::new()).await?;
                Err(StoreError::Unfit(unfit))
            }
            .boxed();
        }
        self.unless(&self.apply_fails, || store.apply(taken, archived))
    }

    fn persist<'a>(&'a self, store: &'a MemoryStore) -> BoxFuture<'a, StoreResult<()>> {
        self.unless(&self.persist_fails, || store.persist())
    }

    fn hurry(&self, is_urgent: bool) {
        self.hurries.store(is_urgent, Ordering::SeqCst);
    }
}
