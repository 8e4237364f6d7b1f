//! What the WebSocket transport promises (RFC 6455): a file per fact.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod frames;
#[path = "../promises/harness.rs"]
mod harness;

mod autobahns_cases_hold;
mod every_rule_of_the_rfc_has_its_close_code;
mod handshakes_are_checked_in_full;
mod real_clients_talk_in_both_subprotocols;
mod splitting_the_bytes_changes_nothing;
mod text_is_checked_as_it_arrives;
mod tungstenite_agrees;
