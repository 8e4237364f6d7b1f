//! What the log promises: a file per fact.
#![allow(unreachable_pub, reason = "these modules are one program")]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]
#![allow(clippy::disallowed_types, reason = "the simulated disk is shared by a test and the log's threads")]

mod cut;
mod harness;
mod sim_disk;

mod a_deposed_home_appends_nothing;
mod a_failed_fsync_ends_the_log;
mod a_full_disk_refuses_until_there_is_room;
mod a_full_queue_is_busy;
mod a_group_is_durable_before_it_is_acknowledged;
mod a_killed_nats_server_loses_nothing;
mod a_log_says_how_full_it_is;
mod a_power_cut_keeps_whole_groups;
mod a_stream_made_otherwise_is_refused;
mod a_torn_tail_is_cut;
mod a_trimmed_log_stays_within_its_limit;
mod a_trimmed_stream_knows_where_it_stands;
mod acknowledged_batches_survive_kill_9;
mod an_append_without_an_answer_is_found_out;
mod broken_bytes_are_noticed;
mod every_log_keeps_order;
mod messages_are_read_as_written;
mod records_are_read_as_written;
mod refusals_are_one_clear_line;
