//! P1, P2, P3 and P6 across `kill -9`: the real program is killed at random moments while clients send, repeat, mark as read
//! and reconnect; afterwards every acknowledged send is there once, in one dense order, the same for all, and what is
//! unread is exact. `KILL_ROUNDS` asks for more rounds; `carillon-loadtest kills` runs the same for as long as one likes.

mod heavy {
    use std::path::Path;

    use carillon_loadtest::scenario::kills::{self, Kills};

    const ROUNDS: u64 = 100;

    #[test]
    fn over_a_hundred_kills() {
        let rounds =
            std::env::var("KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
        // Little memory and small segments, so that rooms are read from the store, ids looked up and the log trimmed.
        let flags = [
            "--shards=2",
            "--log-segment-bytes=1048576",
            "--room-events-kept=16",
            "--dedupe-ids-kept=16",
            "--room-idle-ms=100",
            "--archive-persist-ms=50",
        ];
        let kills = Kills::new(Path::new(env!("CARGO_BIN_EXE_carillon")), rounds, &flags);
        let table = kills::run(&kills).expect("every promise holds");
        let sent = table.figures.iter().find(|figure| figure.name == "sends acknowledged");
        assert!(
            sent.is_some_and(|sent| sent.value >= rounds as f64),
            "too little happened to mean anything: {table}"
        );
    }
}
