//! Nodes crash, stand still, are cut off, leave and disagree about who lives; the log's answers are late, lost or doubled;
//! and every acknowledged message is in its room's history once, in one order for all, handed out when it is in the log and not
//! before, with exact unread counts. And when the faults are over, everything that was asked is done.

use super::counts::Counts;
use super::world::{Without, World};

/// How many histories are played unless `HISTORIES` says otherwise.
pub const HISTORIES: u64 = 1_500;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value}")))
}

#[test]
fn whatever_happens() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HISTORIES").unwrap_or(HISTORIES),
    };
    let is_one = seeds.end - seeds.start == 1;
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    for seed in seeds {
        let mut world = World::new(seed, Without::Nothing);
        if let Err(fault) = world.play() {
            failed.push(format!("SEED={seed}: {fault}"));
        }
        counts += &world.counts;
    }
    for (what, count) in counts.each() {
        println!("{count:>9} {what}");
    }
    let shown = &failed[..failed.len().min(10)];
    assert!(failed.is_empty(), "{} histories failed:\n{}", failed.len(), shown.join("\n"));
    for (what, count) in counts.each() {
        // Whom a home refuses that is none any more is luck.
        let is_needed = !is_one && what != "refused_by_stale";
        assert!(count > 0 || !is_needed, "no history had any {what}");
    }
}
