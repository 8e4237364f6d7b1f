//! What nodes keep to among each other: a file per fact.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

#[path = "../../../protocol/tests/common/mod.rs"]
mod common;

mod a_link_takes_any_bytes;
mod links_deliver_in_order_once;
mod messages_cross_unchanged;
mod who_comes_or_goes_moves_only_its_share;
