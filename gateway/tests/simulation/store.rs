//! A store that takes a moment for each call, so that what is read in several is read while others write.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use carillon_storage::StoreResult;
use futures_util::future::{self, BoxFuture, FutureExt};

use crate::weak_store::{Read, WeakStore, Weakness};

pub type SlowStore = Arc<WeakStore<Slowness>>;

#[derive(Default)]
pub struct Slowness;

/// Ready the second time it is asked.
async fn a_moment() {
    let mut was_asked = false;
    poll_fn(|_| if std::mem::replace(&mut was_asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Weakness for Slowness {
    fn before<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, StoreResult<()>> {
        match read {
            Read::Heads(_) => future::ready(Ok(())).boxed(),
            Read::Room | Read::Members | Read::Events | Read::Sent => a_moment().map(Ok).boxed(),
        }
    }
}
