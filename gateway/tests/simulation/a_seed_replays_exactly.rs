//! The same seed gives the same history, to the last byte and millisecond: a failure can be looked at again.

use super::world::{Without, World};

#[test]
fn to_the_last_byte() {
    for seed in 0..20 {
        let [first, second] = [(), ()].map(|()| {
            let mut world = World::new(seed, Without::Nothing);
            let outcome = world.play();
            (outcome, world.digest, world.now_ms, world.counts)
        });
        assert_eq!(first, second, "seed {seed}");
    }
}
