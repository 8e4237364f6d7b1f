//! While the CQL server is frozen a node stays ready and goes on sending; it says that the store is away, how much waits for it and for how
//! long, how its requests end, and how full the log gets. When the server goes on, all of that is over, and nobody had to do anything.

use carillon_devservers::Cql;

use crate::harness::{Node, until};

#[test]
fn and_by_how_much() {
    let server = Cql::start().unwrap();
    let node = Node::start_at(&server.address(), |config| {
        config.cql_timeout_ms = 300;
        config.archive_late_ms = 500;
        config.log_segment_bytes = 1 << 20;
        config.log_bytes_max = 4 << 20;
    });
    let mut client = node.client(1);
    let room = client.create_room(&[2]);
    client.send(room, "before");
    until("all is archived", || node.stats()["archive"]["lag_events"] == 0);
    assert_eq!(node.get("/healthz"), (200, "ok\n".to_owned()));
    assert!(node.stats()["store"]["requests"]["write_messages"]["count"].as_u64() > Some(0));

    server.pause().unwrap();
    for _ in 0..10 {
        client.send(room, "meanwhile");
    }
    until("the node says that the store is away", || node.get("/healthz").1.contains("the store is away"));
    let (status, said) = node.get("/healthz");
    assert_eq!(status, 200);
    assert!(said.starts_with("degraded: ") && said.contains("; 10 events, the oldest "), "{said}");
    assert_eq!(node.get("/readyz"), (200, said));
    let stats = node.stats();
    assert_eq!(stats["archive"]["lag_events"], 10);
    assert!(stats["archive"]["lag_ms"].as_u64() >= Some(500), "{stats}");
    until("time-outs are counted", || node.stats()["store"]["failures_in_a_row"].as_u64() > Some(0));
    let timeouts = |stats: &serde_json::Value| {
        let requests = stats["store"]["requests"].as_object().unwrap();
        requests.values().map(|kind| kind["timeouts"].as_u64().unwrap()).sum::<u64>()
    };
    assert!(timeouts(&node.stats()) > 0);

    // The log fills, which is said long before it is full.
    let text = "x".repeat(16 << 10);
    while node.stats()["log"]["used"].as_f64().unwrap() < 0.75 {
        client.send(room, &text);
    }
    assert!(node.get("/healthz").1.contains("degraded: the log is 7"), "{}", node.get("/healthz").1);
    client.send(room, "and there is room");

    server.resume().unwrap();
    until("all is well again", || node.get("/healthz") == (200, "ok\n".to_owned()));
    until("all is archived", || node.stats()["archive"]["lag_events"] == 0);
}
