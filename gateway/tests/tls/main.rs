//! What holds over TLS: a file per fact. Beyond these, a connection over TLS is like any other.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(dead_code, reason = "what is shared with other programs of tests is used in part")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod client;
#[path = "../promises/harness.rs"]
mod harness;
#[path = "../process/mod.rs"]
mod process;
#[path = "../hostile/victims.rs"]
mod victims;

mod a_client_that_comes_back_shakes_hands_in_short;
mod a_goodbye_is_said_at_the_end;
mod a_handshake_without_end_is_ended;
mod a_renewed_certificate_is_shown_to_who_comes_then;
mod a_slow_client_costs_bounded_memory_and_loses_nothing;
mod messages_of_any_size_in_pieces_of_any_size_arrive;
mod noise_is_answered_with_an_alert;
mod other_makes_of_tls_are_served;
mod pieces_of_a_handshake_may_come_between_writes;
