//! What a user costs who is somewhere: in the directory of the node that has their session, and at their home, which knows
//! the node. A table of as many numbers is the floor, in the same run.
//!
//! `cargo run --release -p carillon-bench --bin directory -- [users]`
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use carillon_bench::allocated::Counting;
use carillon_bench::memory::Memory;
use carillon_gateway::cluster::presence::Presence;
use carillon_gateway::cluster::view::NodeId;
use carillon_gateway::directory::Directory;
use carillon_protocol::UserId;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Shards of the node, and nodes that users are on.
const PLACES: u64 = 8;
const PARTITIONS: u16 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let users: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |arg| arg.parse())?;
    let ids: Vec<UserId> =
        (1..=users).map(|number| UserId::new(spread(number)).ok_or("an id")).collect::<Result<_, _>>()?;
    println!("{:<46} {:>12} {:>12}", "bytes of each of the users", "resident", "allocated");

    let before = Memory::now()?;
    let floor: HashMap<u64, u64> = ids.iter().map(|id| (id.get(), id.get() % PLACES)).collect();
    Memory::now()?.print_slope("a table of as many numbers", &before, users);
    print_lookups("  looked up", &ids, |id| floor.get(&id.get()).copied().unwrap_or(0));

    let before = Memory::now()?;
    let directory = Directory::default();
    ids.iter().for_each(|&id| directory.arrive(id, (id.get() % PLACES) as u16));
    Memory::now()?.print_slope("the directory of a node: on which shards", &before, users);
    print_lookups("  looked up", &ids, |id| directory.shards_of_user(id).bits() as u64);

    let before = Memory::now()?;
    let presence = Presence::new(PARTITIONS);
    for &id in &ids {
        presence.arrive(id, NodeId::new(1 + id.get() % PLACES).ok_or("a node")?);
    }
    Memory::now()?.print_slope("their home: on which nodes", &before, users);
    print_lookups("  looked up", &ids, |id| {
        let mut sum = 0;
        presence.each_node(id, |node| sum += node.get());
        sum
    });
    Ok(())
}

/// Ids come in no order; this makes them so, the same in each run. They have at most 53 bits.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11
}

fn print_lookups(what: &str, ids: &[UserId], mut look_up: impl FnMut(UserId) -> u64) {
    let began = Instant::now();
    let sum = ids.iter().fold(0_u64, |sum, &id| sum.wrapping_add(look_up(id)));
    black_box(sum);
    println!("{what:<46} {:>12.0} ns", began.elapsed().as_nanos() as f64 / ids.len().max(1) as f64);
}
