//! What makes the promises hold is needed, and the simulation notices where it is missing: each of these is found among the
//! histories that the other tests play.

use super::the_promises_hold_whatever_happens::HISTORIES;
use super::world::{Without, World};

fn is_caught_without(what: Without) {
    let caught = (0..HISTORIES).find_map(|seed| Some((seed, World::new(seed, what).play().err()?)));
    let (seed, how) = caught.unwrap_or_else(|| panic!("nobody noticed that there was no {what:?}"));
    println!("without {what:?}: seed {seed}, {how}");
}

#[test]
fn without_the_fence() {
    is_caught_without(Without::Fence);
}

#[test]
fn without_numbers_of_takes() {
    is_caught_without(Without::Takes);
}

#[test]
fn without_client_ids() {
    is_caught_without(Without::ClientIds);
}

#[test]
fn without_waiting_for_the_log() {
    is_caught_without(Without::Durability);
}
