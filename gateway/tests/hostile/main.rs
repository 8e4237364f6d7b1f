//! P7: bad input and bad clients get a clear answer and harm nobody else. A file per fact.
//!
//! Each runs against a node of its own. A shard that panics ends the process, and with it the test.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

#[path = "../../../protocol/tests/common/examples.rs"]
mod examples;
#[path = "../promises/harness.rs"]
mod harness;
mod victims;

mod bad_tokens_are_refused;
mod every_wrong_byte_is_answered;
mod floods_leave_room_for_others;
mod heavy;
mod limits_are_told;
mod no_connection_leaves_anything_behind;
mod noise_is_survived;
mod slow_bytes_cost_only_their_sender;
mod text_that_is_not_utf8_is_refused;
mod too_many_connections_are_told;
mod who_does_not_read_is_not_read;
