//! Nodes over a real nats-server: a file per fact. `NATS_SERVER` says where its program is.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod harness;

mod batches_arrive_once_and_in_order;
mod nodes_see_each_other_come_and_go;
mod what_waited_for_a_node_that_went_is_not_counted_when_it_is_back;
