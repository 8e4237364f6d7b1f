//! Nodes agree on what the log is, or do not start: partitions and streams are set once and for all.

use carillon_devservers::Nats;
use carillon_gateway::log::{JetStreamConfig, JetStreamLog};

use crate::harness::jetstream;

#[test]
fn what_differs_is_one_clear_line() {
    let nats = Nats::start().unwrap();
    let config = jetstream(&nats);
    drop(JetStreamLog::open(config.clone()).unwrap());
    drop(JetStreamLog::open(config.clone()).unwrap());
    assert_eq!(
        refusal(JetStreamConfig { partitions: 8, ..config.clone() }),
        "the log in stream carillon-log-0 was made for 4 partitions, not 8"
    );
    assert_eq!(
        refusal(JetStreamConfig { streams: 1, ..config.clone() }),
        "stream carillon-log-0 is not as it is configured: it is one of 2 streams, not of 1"
    );
    assert_eq!(
        refusal(JetStreamConfig { replicas: 3, ..config.clone() }),
        "stream carillon-log-0 is not as it is configured: it has 1 replicas, not 3"
    );
    // A limit may change.
    drop(JetStreamLog::open(JetStreamConfig { log_bytes_max: 1 << 20, ..config }).unwrap());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let config = JetStreamConfig::new(vec!["nats://127.0.0.1:1".to_owned()], 1, 4);
    let said = |change: &dyn Fn(&mut JetStreamConfig)| {
        let mut config = config.clone();
        change(&mut config);
        refusal(config)
    };
    assert!(said(&|config| config.servers.clear()).contains("NATS server"));
    assert!(said(&|config| config.partitions = 0).contains("partition"));
    assert!(said(&|config| config.streams = 5).contains("stream"));
    assert!(said(&|config| config.replicas = 2).contains("replicas"));
    assert!(said(&|config| config.prefix = "a.b".to_owned()).contains("letters"));
}

fn refusal(config: JetStreamConfig) -> String {
    let said = JetStreamLog::open(config).err().unwrap().to_string();
    assert!(!said.contains('\n'));
    said
}
