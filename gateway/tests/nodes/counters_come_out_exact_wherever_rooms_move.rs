//! Counters of unread messages are, in the end, what the nodes say is unread, while the homes of their rooms move: a node is killed with a
//! server that is frozen, another leaves, one comes.

use std::thread::sleep;
use std::time::Duration;

use carillon_gateway::config::Config;
use carillon_gateway::serve::cql_config;
use carillon_protocol::RoomId;
use carillon_storage::CqlStore;

use crate::cluster::Cluster;
use crate::harness::{Client, user};
use crate::shared_store::{on, server, third};

const ROOMS: usize = 12;
const MEMBERS_MAX: u64 = 10;

fn counting(server: &str) -> impl Fn(&mut Config) {
    let on = on(server);
    move |config| {
        on(config);
        config.cql_timeout_ms = 1_000;
        config.counters_members_max = MEMBERS_MAX;
        config.counters_interval_ms = 100;
    }
}

fn talk(client: &mut Client, rooms: &[RoomId], count: usize) {
    for number in 0..count {
        for (place, &room) in rooms.iter().enumerate() {
            let seq = client.send(room, "news");
            if (number + place) % 4 == 0 {
                client.mark_read(room, seq);
            }
        }
    }
}

fn is_exact(cluster: &Cluster) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = cql_config(cluster.nodes[0].config()).unwrap();
        let store = CqlStore::open(config).await.map_err(|error| error.to_string())?;
        let report = store.verify_counters(MEMBERS_MAX, false).await.map_err(|error| error.to_string())?;
        let counters = store.unread_counters(user(2)).await.map_err(|error| error.to_string())?;
        let rooms = cluster.client(0, 2).rooms();
        let told: Vec<_> = rooms.iter().map(|entry| (entry.room, entry.unread as i64)).collect();
        let is_told = counters.iter().all(|counter| told.contains(counter)) && counters.len() == ROOMS;
        (report.wrong == 0 && is_told).then_some(()).ok_or(format!("{report:?}, {counters:?}, {told:?}"))
    })
}

fn until_exact(cluster: &Cluster) {
    for _ in 0..240 {
        if is_exact(cluster).is_ok() {
            return;
        }
        sleep(Duration::from_millis(250));
    }
    panic!("{}", is_exact(cluster).unwrap_err());
}

#[test]
fn and_whoever_dies() {
    let server = server();
    let mut cluster = Cluster::start_with(2, counting(&server.address()));
    let flags = ["--counters-members-max", "10", "--counters-interval-ms", "100", "--cql-timeout-ms", "1000"];
    let mut third = third(&cluster, &server, &flags);
    let mut ann = cluster.client(0, 1);
    let rooms: Vec<_> = (0..ROOMS).map(|_| ann.create_room(&[2, 3])).collect();
    talk(&mut ann, &rooms, 8);
    server.pause().unwrap();
    talk(&mut ann, &rooms, 1);
    sleep(Duration::from_secs(1));
    third.server.kill().unwrap();
    server.resume().unwrap();
    cluster.settle();
    talk(&mut ann, &rooms, 5);
    until_exact(&cluster);

    cluster.join(counting(&server.address()));
    cluster.settle();
    talk(&mut ann, &rooms, 2);
    cluster.nodes.remove(1).stop();
    talk(&mut ann, &rooms, 2);
    cluster.settle();
    until_exact(&cluster);
}
