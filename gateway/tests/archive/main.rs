//! What the archiver promises: a file per fact.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod failing_store;
mod harness;
#[path = "../store/mod.rs"]
mod weak_store;

mod a_crash_loses_nothing;
mod a_log_of_another_store_is_refused;
mod a_log_that_fills_goes_before_reads;
mod a_refused_event_is_set_aside;
mod a_store_outage_is_made_up_for;
mod an_unreadable_record_is_set_aside;
mod each_event_changes_its_rows;
mod what_is_persisted_leaves_the_log;
