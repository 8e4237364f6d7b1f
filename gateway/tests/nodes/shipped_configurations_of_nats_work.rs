//! nats-server takes every configuration in `deploy/nats`; a node runs on the development one, also where it asks who the node is in the
//! way that the production one has ready.

use std::path::{Path, PathBuf};
use std::process::Command;

use carillon_devservers::process::{Server, Spec};
use carillon_devservers::{find, ports};
use carillon_gateway::config::{Config, Given, Value};
use tempfile::TempDir;

use crate::harness::Node;

/// The key that production.conf shows as an example: that of the documentation of NATS.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats").join(name)
}

#[test]
fn nats_server_takes_each() {
    let nats_server = find::nats_server().unwrap();
    for name in ["development.conf", "production-1.conf", "production-2.conf", "production-3.conf"] {
        let output = Command::new(&nats_server).arg("-t").arg("-c").arg(shipped(name)).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The development configuration with these lines, on free ports and in a temporary folder.
fn start(more: &str, dir: &TempDir) -> (Server, u16) {
    let [port, monitor] = ports::free().unwrap();
    let file = dir.path().join("nats.conf");
    let text = std::fs::read_to_string(shipped("development.conf")).unwrap();
    // The other addresses are flags.
    let text = text.replace("nats-data", dir.path().join("data").to_str().unwrap());
    std::fs::write(&file, text + more).unwrap();
    let mut args = vec!["-c".into(), file.into()];
    args.extend(["-p".into(), port.to_string().into(), "-m".into(), monitor.to_string().into()]);
    let program = find::nats_server().unwrap();
    let spec = Spec { name: "nats".into(), program, args, env: Vec::new(), folder: dir.path().to_owned() };
    (Server::start(spec).unwrap(), port)
}

fn a_node_runs_on(address: &str, change: impl FnOnce(&mut Config)) {
    let node = Node::start_with(|config| {
        config.nats.set(&Given::Bare(address)).unwrap();
        config.nats_replicas = 1;
        change(config);
    });
    let room = node.client(1).create_room(&[2]);
    assert_eq!(node.client(2).send(room, "hello"), 2);
    assert_eq!((node.count("nodes"), node.count("partitions_moving")), (1, 0));
}

#[test]
fn a_node_runs_on_the_development_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_nats, port) = start("", &dir);
    a_node_runs_on(&format!("nats://127.0.0.1:{port}"), |_| {});
}

/// What production.conf has ready, commented out.
fn authorization() -> String {
    let text = std::fs::read_to_string(shipped("production.conf")).unwrap();
    let is_it = |line: &&str| line.starts_with("# authorization { users");
    text.lines().find(is_it).unwrap().trim_start_matches("# ").to_owned()
}

#[test]
fn a_node_shows_who_it_is_on_every_connection() {
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("nats.nk");
    std::fs::write(&seed, SEED).unwrap();
    let (_nats, port) = start(&authorization(), &dir);
    a_node_runs_on(&format!("nats://127.0.0.1:{port}"), |config| config.nats_credentials = Some(seed));
}
