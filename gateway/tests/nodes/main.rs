//! What the gateway promises, kept by several nodes over a real nats-server: a file per fact. `NATS_SERVER` says where its
//! program is.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod cluster;
#[path = "../promises/harness.rs"]
mod harness;
mod shared_store;

mod a_message_reaches_members_on_every_node;
mod a_node_that_leaves_hands_over;
mod a_shared_store_is_written_by_homes;
mod counters_come_out_exact_wherever_rooms_move;
mod nodes_that_come_at_once_learn_who_is_there;
mod operators_see_how_a_cluster_is;
mod shipped_configurations_of_nats_work;
