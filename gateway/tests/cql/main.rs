//! Promises kept with the store in a real CQL server: the same tests as on the embedded one, and what is told at the start.
//!
//! The server is the one at `CQL_SERVER`, or one that is started for this process.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(dead_code, reason = "what is shared with other programs of tests is used in part")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod harness;
#[path = "../process/mod.rs"]
mod process;
#[path = "../simulation/random.rs"]
mod random;

mod a_refused_event_is_set_aside;
#[path = "../promises/a_retry_gets_the_seq_it_got_before.rs"]
mod a_retry_gets_the_seq_it_got_before;
mod a_wrong_schema_is_told;
mod counters_come_out_exact;
#[path = "../promises/history_has_no_gap.rs"]
mod history_has_no_gap;
mod millions_of_increments_come_out_exact;
mod nothing_is_lost_while_the_server_is_away;
mod operators_see_a_store_that_is_away;
