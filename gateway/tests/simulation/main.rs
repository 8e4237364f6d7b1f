//! A cluster in one thread, with a seed: thousands of histories of crashes, stops, cuts and moves, each checked against what
//! the log says, and any of them again by its seed. A file per fact.
//!
//! `SEED=1234 cargo nextest run -p carillon-gateway --test simulation whatever_happens` plays one history;
//! `HISTORIES=100000` plays so many.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]
#![allow(clippy::print_stdout, reason = "what was played, for who reads the output")]

mod checker;
mod client;
mod counts;
mod log;
mod node;
mod random;
mod store;
#[path = "../store/mod.rs"]
mod weak_store;
mod world;
mod writer;

mod a_broken_cluster_is_caught;
mod a_seed_replays_exactly;
mod the_promises_hold_whatever_happens;
