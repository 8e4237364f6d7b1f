//! Two sides of a link over a network that loses, doubles, delays and reorders, while either side gives up now and then and
//! is slow to take what comes: what is taken between `Opened` and `Lost` is a run of what the other sent between two
//! losses, from its first batch on, without a hole or a repetition. Once the network is good again, all of it arrives.

use bytes::Bytes;
use carillon_gateway::cluster::link::{Link, LinkConfig, Output, Refused};
use carillon_gateway::cluster::view::NodeId;
use proptest::collection::vec;
use proptest::prelude::*;

const CONFIG: LinkConfig = LinkConfig {
    unacknowledged_bytes_max: 4_000,
    datagram_bytes_max: 700,
    ack_delay_ms: 20,
    resend_after_ms: 200,
    resend_after_ms_max: 2_000,
    lost_after_ms: 3_000,
};

/// A network's faults, in percent, and how late a datagram may be.
#[derive(Clone, Copy, Debug)]
struct Faults {
    lost: u64,
    doubled: u64,
    delay_ms_max: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// A side sends so many batches of so many bytes.
    Send(usize, usize, usize),
    Pass(u64),
    Reset(usize),
    /// Nothing gets through for so long.
    Cut(u64),
    /// A side takes nothing, or does again.
    Take(usize, bool),
    Reconnected(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let side = 0..2_usize;
    prop_oneof![
        8 => (side.clone(), 1..12_usize, 0..2_500_usize).prop_map(|(side, count, len)| Step::Send(side, count, len)),
        8 => (0..400_u64).prop_map(Step::Pass),
        1 => side.clone().prop_map(Step::Reset),
        1 => (0..9_000_u64).prop_map(Step::Cut),
        2 => (side.clone(), any::<bool>()).prop_map(|(side, take)| Step::Take(side, take)),
        1 => side.prop_map(Step::Reconnected),
    ]
}

struct Side {
    link: Link,
    takes: bool,
    /// Batches given to the link, those between two losses together. A batch is its number and zeros.
    sent: Vec<Vec<u64>>,
    /// Batches taken from it, those between `Opened` and `Lost` together.
    taken: Vec<Vec<u64>>,
    is_open: bool,
}

struct Pair {
    now_ms: u64,
    seed: u64,
    faults: Faults,
    sides: [Side; 2],
    /// When, for whom, what.
    network: Vec<(u64, usize, Bytes)>,
    next_batch: u64,
}

impl Pair {
    fn new(seed: u64, faults: Faults) -> Self {
        let [a, b] = [7, 9].map(|id| NodeId::new(id).unwrap());
        let side = |me, peer| Side {
            link: Link::new(me, peer, 1, CONFIG),
            takes: true,
            sent: vec![vec![]],
            taken: vec![],
            is_open: false,
        };
        let sides = [side(a, b), side(b, a)];
        Self { now_ms: 1_000, seed, faults, sides, network: vec![], next_batch: 1 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((word ^ (word >> 27)) >> 11) % below.max(1)
    }

    fn send(&mut self, side: usize, len: usize) {
        let number = self.next_batch;
        self.next_batch += 1;
        let mut batch = number.to_be_bytes().to_vec();
        batch.resize(8 + len, 0);
        match self.sides[side].link.send(batch.into()) {
            Ok(()) => self.sides[side].sent.last_mut().unwrap().push(number),
            Err(Refused::Full(_)) => {
                assert!(self.sides[side].link.unacknowledged_bytes() > 1_000, "full with nothing in it");
            }
            Err(Refused::TooLarge(_)) => panic!("no batch here is too large"),
        }
        self.look(side);
    }

    fn look(&mut self, side: usize) {
        let side = &mut self.sides[side];
        while let Some(output) = side.link.next() {
            match output {
                Output::Opened => {
                    assert!(!side.is_open, "opened twice");
                    side.is_open = true;
                    side.taken.push(vec![]);
                }
                Output::Lost => {
                    side.is_open = false;
                    side.sent.push(vec![]);
                }
                Output::Batch(_) if !side.takes => return,
                Output::Batch(batch) => {
                    assert!(side.is_open, "a batch while the link is not open");
                    let (number, rest) = batch.split_first_chunk().unwrap();
                    assert!(rest.iter().all(|byte| *byte == 0), "bytes of another batch");
                    side.taken.last_mut().unwrap().push(u64::from_be_bytes(*number));
                    side.link.taken();
                }
            }
        }
    }

    fn flush(&mut self, side: usize) {
        self.look(side);
        while let Some(datagram) = self.sides[side].link.datagram_out(self.now_ms) {
            assert!(datagram.len() <= CONFIG.datagram_bytes_max);
            self.look(side);
            let copies = 1 + u64::from(self.random(100) < self.faults.doubled);
            for _ in 0..copies {
                if self.random(100) >= self.faults.lost {
                    let at = self.now_ms + 1 + self.random(self.faults.delay_ms_max);
                    self.network.push((at, 1 - side, datagram.clone().into()));
                }
            }
        }
        let timeout_ms = self.sides[side].link.timeout_ms();
        assert!(timeout_ms.is_none_or(|at| at > self.now_ms), "due, and nothing comes out");
    }

    /// Lets time pass, from one thing that happens to the next.
    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            for side in 0..2 {
                self.flush(side);
            }
            let timers = self.sides.iter().filter_map(|side| side.link.timeout_ms());
            let next = timers.chain(self.network.iter().map(|(at, ..)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now_ms = self.now_ms.max(next);
            let due = self.network.iter().position(|(at, ..)| *at <= self.now_ms);
            if let Some(index) = due {
                let (_, side, datagram) = self.network.swap_remove(index);
                self.sides[side].link.on_datagram(self.now_ms, &datagram).unwrap();
                self.look(side);
            }
        }
        self.now_ms = end;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send(side, count, len) => (0..count).for_each(|_| self.send(side, len)),
            Step::Pass(ms) => self.pass(ms),
            Step::Reset(side) => self.sides[side].link.reset(self.now_ms),
            Step::Cut(ms) => {
                let faults = self.faults;
                self.faults.lost = 100;
                self.pass(ms);
                self.faults = faults;
            }
            Step::Take(side, takes) => self.sides[side].takes = takes,
            Step::Reconnected(side) => self.sides[side].link.on_reconnected(self.now_ms),
        }
        (0..2).for_each(|side| self.look(side));
    }

    /// What `side` took is of what the other sent.
    fn check(&self, side: usize) {
        let mut sent = self.sides[1 - side].sent.iter();
        for taken in &self.sides[side].taken {
            let Some(first) = taken.first() else { continue };
            let of = sent.by_ref().find(|of| of.first() == Some(first));
            let of = of.unwrap_or_else(|| panic!("{taken:?} begins where nothing begins, or a second time"));
            assert!(of.starts_with(taken), "{taken:?} is not how {of:?} begins");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_network_does(
        seed: u64,
        lost in 0..60_u64,
        doubled in 0..40_u64,
        delay_ms_max in prop_oneof![Just(1_u64), 1..50_u64, 1..5_000_u64],
        steps in vec(step(), 1..60),
    ) {
        let mut pair = Pair::new(seed, Faults { lost, doubled, delay_ms_max });
        for step in &steps {
            pair.step(step);
        }
        pair.check(0);
        pair.check(1);
        // A good network again, until what is late has come.
        pair.faults = Faults { lost: 0, doubled: 0, delay_ms_max: 1 };
        pair.sides.iter_mut().for_each(|side| side.takes = true);
        pair.pass(20_000);
        pair.check(0);
        pair.check(1);
        for side in 0..2 {
            prop_assert!(pair.sides[side].is_open && pair.sides[side].link.unacknowledged_bytes() == 0);
            let sent = pair.sides[1 - side].sent.last().unwrap();
            let taken = pair.sides[side].taken.last().unwrap();
            prop_assert!(sent.is_empty() || sent == taken, "{:?} and {:?}", sent, taken);
        }
    }
}

#[test]
fn a_good_network_carries_everything_without_sending_anything_twice() {
    let mut pair = Pair::new(1, Faults { lost: 0, doubled: 0, delay_ms_max: 1 });
    for _ in 0..100 {
        pair.send(0, 100);
        pair.send(1, 100);
        pair.pass(30);
    }
    assert_eq!(pair.sides[0].taken[0].len(), 100);
    assert_eq!(pair.sides[1].taken[0].len(), 100);
    assert_eq!([pair.sides[0].link.epoch(), pair.sides[1].link.epoch()], [1, 1]);
}

#[test]
fn a_lost_datagram_is_asked_for_as_soon_as_the_next_comes() {
    let mut pair = Pair::new(1, Faults { lost: 0, doubled: 0, delay_ms_max: 1 });
    pair.pass(100);
    pair.send(0, 10);
    pair.pass(100);
    pair.send(0, 10);
    pair.flush(0);
    pair.network.clear();
    pair.pass(ASKED_AFTER_MS);
    pair.send(0, 10);
    pair.pass(10);
    assert_eq!(pair.sides[1].taken, [[1, 2, 3]]);
}

/// Less than it takes to be sent again unasked.
const ASKED_AFTER_MS: u64 = 50;

#[test]
fn a_silent_peer_is_lost_and_both_sides_hear_of_it() {
    let mut pair = Pair::new(1, Faults { lost: 0, doubled: 0, delay_ms_max: 1 });
    pair.send(0, 10);
    pair.pass(1_000);
    pair.faults.lost = 100;
    pair.send(0, 10);
    pair.pass(CONFIG.lost_after_ms - 1);
    assert!(pair.sides[0].is_open);
    pair.pass(1);
    assert!(!pair.sides[0].is_open && pair.sides[1].is_open);
    pair.faults.lost = 0;
    pair.send(0, 10);
    pair.pass(5_000);
    assert_eq!(pair.sides[1].taken, [[1], [3]]);
}

#[test]
fn nobody_is_lost_who_has_nothing_to_answer() {
    let mut pair = Pair::new(1, Faults { lost: 0, doubled: 0, delay_ms_max: 1 });
    pair.pass(1_000);
    pair.faults.lost = 100;
    pair.pass(100_000);
    assert!(pair.sides[0].is_open && pair.sides[1].is_open);
}

#[test]
fn who_is_full_says_so_and_takes_again_when_there_is_room() {
    let mut pair = Pair::new(1, Faults { lost: 0, doubled: 0, delay_ms_max: 1 });
    pair.pass(100);
    let batch = Bytes::from(vec![0; 1_000]);
    let mut sent = 0;
    while pair.sides[0].link.send(batch.clone()).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 3);
    assert_eq!(pair.sides[0].link.send(batch.clone()), Err(Refused::Full(batch.clone())));
    pair.sides[0].link.datagram_out(pair.now_ms).unwrap();
    pair.sides[1].takes = false;
    pair.pass(1_000);
    assert_eq!(pair.sides[0].link.send(batch), Ok(()));
}
