//! What the gateway promises its clients (`P1` to `P8` of the design) and what each command does: a file per fact.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod harness;
#[path = "../process/mod.rs"]
mod process;
mod waiting_store;
#[path = "../store/mod.rs"]
mod weak_store;

mod a_device_has_one_session;
mod a_message_reaches_every_member_once_and_in_order;
mod a_node_that_is_told_to_stop_drains;
mod a_python_client_written_from_the_document_talks;
mod a_retry_gets_the_seq_it_got_before;
mod a_slow_client_costs_bounded_memory_and_loses_nothing;
mod history_has_no_gap;
mod nothing_is_delivered_before_it_is_durable;
mod roles_are_kept;
mod room_lists_miss_nothing;
mod silence_is_noticed;
mod typing_and_receipts_reach_the_others;
mod unread_counts_are_exact;
mod who_arrives_hears_what_happened_meanwhile;
mod who_joins_while_arriving_hears_of_it;
mod who_leaves_hears_that_and_nothing_after;
