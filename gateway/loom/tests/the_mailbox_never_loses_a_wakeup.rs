//! A receiver that finds its mailbox empty and falls asleep is woken by whatever is sent around that moment,
//! in every interleaving with at most [`PREEMPTIONS_MAX`] preemptions (without a limit, two senders take hours).

use std::sync::Arc;

use carillon_loom::{Bell, Mailbox, Waker};
use loom::sync::Notify;
use loom::thread;

/// What finds nearly every fault, and takes a second.
const PREEMPTIONS_MAX: usize = 3;

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(check);
}

/// Takes `wanted` batches, sleeping whenever the bell allows it. A lost wake-up is a deadlock, which loom reports.
fn receive(mailbox: &Mailbox<u32>, woken: &Notify, wanted: usize) -> Vec<u32> {
    let mut got = Vec::new();
    while got.len() < wanted {
        match mailbox.take() {
            Some(batch) => got.extend(batch),
            None => {
                if mailbox.bell().doze(|| mailbox.is_empty()) {
                    woken.wait();
                }
                mailbox.bell().rise();
            }
        }
    }
    got
}

fn mailbox(batches_max: usize) -> (Mailbox<u32>, loom::sync::Arc<Notify>) {
    let woken = loom::sync::Arc::new(Notify::new());
    let bell = Arc::new(Bell::new(Waker::new(woken.clone())));
    (Mailbox::new(batches_max, bell), woken)
}

#[test]
fn one_sender_two_batches() {
    model(|| {
        let (mailbox, woken) = mailbox(2);
        let sender = mailbox.clone();
        let sending = thread::spawn(move || {
            sender.send(vec![1]).unwrap();
            sender.send(vec![2]).unwrap();
        });
        assert_eq!(receive(&mailbox, &woken, 2), [1, 2]);
        sending.join().unwrap();
    });
}

#[test]
fn two_senders() {
    model(|| {
        let (mailbox, woken) = mailbox(2);
        let senders = [1, 2].map(|number| {
            let sender = mailbox.clone();
            thread::spawn(move || sender.send(vec![number]).unwrap())
        });
        let mut got = receive(&mailbox, &woken, 2);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn a_full_mailbox_gives_the_batch_back() {
    model(|| {
        let (mailbox, _) = mailbox(1);
        assert_eq!(mailbox.send(vec![1]), Ok(()));
        assert_eq!(mailbox.send(vec![2]), Err(vec![2]));
    });
}
