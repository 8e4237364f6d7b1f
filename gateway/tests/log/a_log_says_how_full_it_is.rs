//! A log says how much of what it may take is taken: more with every append that stays, towards 1000 thousandths when it begins to refuse,
//! and less again once it is trimmed.

use carillon_gateway::log::{AppendError, Batch, FileLog, FileLogConfig, Log, MemoryLog};

const RECORDS: usize = 1000;

async fn fill(log: &dyn Log) {
    let (mut position, mut before) = (0, log.status().used_permille);
    assert!(before < 100, "{before} of an empty log");
    loop {
        let batch = Batch { partition: 0, position: position + 1, records: vec![7; RECORDS] };
        match log.append(vec![batch]).await {
            Ok(()) => position += 1,
            Err(AppendError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        let now = log.status().used_permille;
        assert!(now >= before, "{before} and then {now}");
        before = now;
    }
    assert!((900..=1000).contains(&before), "{before} of a full log");
    log.trim(&vec![position]);
    while log.status().used_permille > 300 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn in_memory() {
    fill(&MemoryLog::new(1, 100_000)).await;
}

#[tokio::test]
async fn in_files() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        FileLogConfig { segment_bytes: 65_536, log_bytes_max: 300_000, ..FileLogConfig::new(dir.path(), 1) };
    fill(&FileLog::open(config).unwrap()).await;
}
