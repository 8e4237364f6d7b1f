//! The power goes at any moment, and of what was not synced any sectors are on disk and any others not. Opened again, the
//! log has every acknowledged group, each group as a whole or not at all, in order; and so after a second cut.

use carillon_gateway::log::{Batch, Log};
use proptest::prelude::*;

use crate::harness::{batch, large, open_on, read_all};
use crate::sim_disk::{Faults, SimDisk};

/// One group to append.
#[derive(Clone, Debug)]
struct Plan {
    /// Of how many batches, in partitions 0, 1, 2, 0, 1, 2, …
    batches: u16,
    /// How large the last of them is.
    bytes: usize,
    /// Whether to wait for it before the next.
    wait: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    (1u16..5, 0usize..1500, any::<bool>()).prop_map(|(batches, bytes, wait)| Plan { batches, bytes, wait })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_acknowledged_group_and_only_whole_ones(
        plans in prop::collection::vec(plan(), 1..25),
        changes_left in 0u32..80,
        second_cut in 0u32..8,
        mut seed in 1u64..,
    ) {
        let mut keep = move || random_bit(&mut seed);
        let disk = SimDisk::default();
        let log = open_on(&disk).unwrap();
        disk.set(Faults { changes_left: Some(changes_left), ..Faults::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (groups, acknowledged) = runtime.block_on(append_all(&log, &plans));
        drop(log);

        // Cleaning up after the first cut may itself be cut.
        let mut disk = disk.after_power_cut(&mut keep);
        disk.set(Faults { changes_left: Some(second_cut), ..Faults::default() });
        drop(open_on(&disk));
        disk = disk.after_power_cut(&mut keep);

        let log = open_on(&disk).unwrap();
        let found = read_all(&log);
        let whole = whole_groups(&groups, found.len());
        prop_assert_eq!(&found, &groups.concat()[..found.len()]);
        prop_assert!(whole.is_some_and(|whole| whole >= acknowledged), "{whole:?} of {acknowledged}");
        let next = log.last()[0] + 1;
        prop_assert!(runtime.block_on(log.append(vec![batch(0, next)])).is_ok());
    }
}

/// Appends the groups, and says which they were and how many of them, from the first on, were acknowledged.
async fn append_all(log: &impl Log, plans: &[Plan]) -> (Vec<Vec<Batch>>, usize) {
    let mut last = vec![0; 3];
    let (mut groups, mut waiting, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for plan in plans {
        let group = group(plan, &mut last);
        groups.push(group.clone());
        waiting.push(log.append(group));
        if plan.wait {
            outcomes.extend(futures_util::future::join_all(waiting.drain(..)).await);
        }
    }
    outcomes.extend(futures_util::future::join_all(waiting).await);
    let acknowledged = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    assert!(outcomes[acknowledged..].iter().all(Result::is_err));
    (groups, acknowledged)
}

fn group(plan: &Plan, last: &mut [u64]) -> Vec<Batch> {
    let batches = (0..plan.batches).map(|index| {
        let partition = index % 3;
        last[usize::from(partition)] += 1;
        let position = last[usize::from(partition)];
        if index + 1 == plan.batches {
            large(partition, position, plan.bytes)
        } else {
            batch(partition, position)
        }
    });
    batches.collect()
}

/// How many groups have so many batches together; nothing where that is in the middle of one.
fn whole_groups(groups: &[Vec<Batch>], batches: usize) -> Option<usize> {
    let ends = groups.iter().scan(0, |end, group| {
        *end += group.len();
        Some(*end)
    });
    std::iter::once(0).chain(ends).position(|end| end == batches)
}

fn random_bit(seed: &mut u64) -> bool {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed & 1 == 1
}
