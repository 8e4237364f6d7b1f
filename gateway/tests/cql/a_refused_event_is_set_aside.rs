//! A message that is larger than the server takes is set aside and listed with the reason; everything before and after it is archived, and
//! history has no hole. Once the server takes more, it is brought there after all.

use std::path::Path;

use carillon_devservers::{Cql, CqlConfig};
use carillon_protocol::EventBody;

use crate::harness::{Node, until};
use crate::process::{run, stdout_of};

const LIMIT: &str = "max_mutation_size: 200KiB\n";

/// The texts of a room's messages, as somebody reads them who was never there; nothing for what shows nothing.
fn texts(node: &Node, room: carillon_protocol::RoomId) -> Vec<Option<usize>> {
    let history = node.client(2).history(room, 1);
    assert!(history.iter().map(|event| event.seq).eq(2..2 + history.len() as u64));
    let text = |body: &EventBody<'_>| match body {
        EventBody::Message { text, .. } => Some(text.len()),
        _ => None,
    };
    history.iter().map(|event| text(&event.body)).collect()
}

#[test]
fn and_the_rest_goes_on() {
    let config = CqlConfig { cassandra: true, cassandra_yaml: LIMIT.to_owned(), ..CqlConfig::default() };
    let mut server = Cql::start_as(&config).unwrap();
    let mut node = Node::start_at(&server.address(), |config| {
        config.text_bytes_max = 400_000;
        config.frame_bytes_max = 1 << 20;
        config.outbox_bytes_max = 4 << 20;
        config.log_segment_bytes = 4 << 20;
    });
    let mut client = node.client(1);
    let rooms = [client.create_room(&[2]), client.create_room(&[2])];
    for length in [10, 20, 300_000, 40, 350_000, 60] {
        for room in rooms {
            client.send(room, &"x".repeat(if room == rooms[1] { length % 1000 + 1 } else { length }));
        }
    }
    until("all is archived", || node.stats()["archive"]["lag_events"] == 0);
    let stats = node.stats();
    assert_eq!(
        (&stats["archive"]["dead_letters"], &stats["archive"]["failures_in_a_row"]),
        (&2.into(), &0.into())
    );
    assert_eq!(node.get("/healthz").1, "ok\n");

    // What a home remembers it has whole; after a start everything comes from the store.
    node.restart();
    assert_eq!(texts(&node, rooms[0]), [Some(10), Some(20), None, Some(40), None, Some(60)]);
    assert_eq!(texts(&node, rooms[1]), [11, 21, 1, 41, 1, 61].map(Some));
    assert_eq!(node.client(2).entry(rooms[0]).unwrap().unread, 6);

    let (cql, keyspace) = (server.address(), node.config().cql_keyspace.as_str().to_owned());
    let data = node.config().data.to_str().unwrap().to_owned();
    let flags =
        ["dead-letters", "--data", &data, "--store", "cql", "--cql", &cql, "--cql-keyspace", &keyspace];
    let listed = stdout_of(run(&flags));
    let id = uuid::Uuid::from_bytes(*rooms[0].as_bytes()).to_string();
    assert!(listed.lines().count() == 2 && listed.lines().all(|line| line.contains(&id)), "{listed}");
    assert!(listed.contains("seq 4 of room") && listed.contains("seq 6 of room"), "{listed}");
    let retry = [&flags[..], &["--retry"]].concat();
    assert_eq!(run(&retry).status.code(), Some(1));

    server.kill().unwrap();
    take_any_size(&server.folder().join("conf/cassandra.yaml"));
    server.restart().unwrap();
    let stored = stdout_of(run(&retry));
    assert_eq!(stored.matches("stored: partition").count(), 2, "{stored}");
    assert_eq!(stdout_of(run(&flags)), "");
    node.restart();
    assert_eq!(texts(&node, rooms[0]), [10, 20, 300_000, 40, 350_000, 60].map(Some));
}

fn take_any_size(configuration: &Path) {
    let before = std::fs::read_to_string(configuration).unwrap();
    std::fs::write(configuration, before.replace(LIMIT, "")).unwrap();
}
