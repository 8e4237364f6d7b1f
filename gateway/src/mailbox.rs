//! The only crossing between cores: what one shard has for another.
//!
//! Bounded, drained in batches, at most one wake-up a batch. A sender that finds it full keeps its batch
//! and tries again in its next turn (`shard/outgoing.rs` says what it does meanwhile); nothing is dropped here.
//!
//! The classic fault of such a thing is the lost wake-up: the receiver sees an empty queue and falls asleep
//! while the sender, having queued something, still sees it awake. Both sides therefore put a full fence
//! between their write and their read of the other's word (`tests/the_mailbox_never_loses_a_wakeup.rs`
//! explores every interleaving with loom).

use std::sync::Arc;

#[cfg(not(carillon_loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

#[cfg(carillon_loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};

use self::platform::Queue;
pub use self::platform::Waker;

/// Wakes a shard that sleeps; costs nothing when it is awake.
pub struct Bell {
    asleep: AtomicBool,
    waker: Waker,
}

impl Bell {
    /// A bell that rings through `waker`.
    pub fn new(waker: Waker) -> Self {
        Self { asleep: AtomicBool::new(false), waker }
    }

    /// For senders: call after something was queued.
    pub fn ring(&self) {
        // Pairs with the fence in `doze`: either we see it asleep, or it sees what we queued.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// For the receiver, before it waits: says whether it may. `is_empty` looks at everything this bell rings for.
    pub fn doze(&self, is_empty: impl FnOnce() -> bool) -> bool {
        // Swaps here and in `rise`, though stores would do in C++11: loom does not order a store after the swap in
        // `ring` that read what it overwrites, and would report a lost wake-up that cannot happen.
        self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = is_empty();
        if !may_sleep {
            self.rise();
        }
        may_sleep
    }

    /// For the receiver, after it waited, whatever woke it.
    pub fn rise(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }
}

/// Batches on their way to one shard. Clones send to the same one.
pub struct Mailbox<T> {
    queue: Arc<Queue<Vec<T>>>,
    bell: Arc<Bell>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `batches_max` batches, whose receiver is woken by `bell`.
    pub fn new(batches_max: usize, bell: Arc<Bell>) -> Self {
        Self { queue: Arc::new(Queue::new(batches_max)), bell }
    }

    /// Hands a batch over, or gives it back when the mailbox is full.
    pub fn send(&self, batch: Vec<T>) -> Result<(), Vec<T>> {
        self.queue.push(batch)?;
        self.bell.ring();
        Ok(())
    }

    /// The oldest batch, if there is one. For the receiver.
    pub fn take(&self) -> Option<Vec<T>> {
        self.queue.pop()
    }

    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What wakes the receiver.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }
}

#[cfg(not(carillon_loom))]
mod platform {
    pub(super) use crossbeam_queue::ArrayQueue as Queue;

    /// Interrupts a shard's wait for its sockets.
    pub struct Waker(mio::Waker);

    impl Waker {
        /// Wakes whoever polls what `waker` is registered with.
        pub fn new(waker: mio::Waker) -> Self {
            Self(waker)
        }

        pub(super) fn wake(&self) {
            // An eventfd whose counter is full is readable already, which is all a wake-up wants.
            let _ = self.0.wake();
        }
    }
}

#[cfg(carillon_loom)]
mod platform {
    use std::collections::VecDeque;

    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Mutex, Notify};

    /// A queue that loom can follow. Its mutex stands for crossbeam's care with the slots; whether it is empty is read
    /// without it and relaxed, which is less than crossbeam promises: the bell's fences have to do.
    pub(super) struct Queue<T> {
        slots: Mutex<VecDeque<T>>,
        len: AtomicUsize,
        capacity: usize,
    }

    impl<T> Queue<T> {
        pub(super) fn new(capacity: usize) -> Self {
            Self { slots: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0), capacity }
        }

        pub(super) fn push(&self, value: T) -> Result<(), T> {
            let mut slots = self.slots.lock().expect("no model panics while it holds the lock");
            if slots.len() == self.capacity {
                return Err(value);
            }
            slots.push_back(value);
            self.len.store(slots.len(), Ordering::Relaxed);
            Ok(())
        }

        pub(super) fn pop(&self) -> Option<T> {
            let mut slots = self.slots.lock().expect("no model panics while it holds the lock");
            let value = slots.pop_front()?;
            self.len.store(slots.len(), Ordering::Relaxed);
            Some(value)
        }

        pub(super) fn is_empty(&self) -> bool {
            self.len.load(Ordering::Relaxed) == 0
        }
    }

    /// Stands for the eventfd.
    pub struct Waker(Arc<Notify>);

    impl Waker {
        /// Wakes whoever waits for `notify`.
        pub fn new(notify: Arc<Notify>) -> Self {
            Self(notify)
        }

        pub(super) fn wake(&self) {
            self.0.notify();
        }
    }
}
