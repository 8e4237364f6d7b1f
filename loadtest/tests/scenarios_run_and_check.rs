//! Each scenario runs against a real gateway, checks what it drives, and says what it measured; small here, and how fast is
//! not looked at.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const LOADTEST: &str = env!("CARGO_BIN_EXE_carillon-loadtest");

/// The gateway's program, beside the load tool's.
fn carillon() -> PathBuf {
    let program = Path::new(LOADTEST).with_file_name("carillon");
    assert!(program.exists(), "{} is missing: cargo build -p carillon-gateway", program.display());
    program
}

/// Runs a scenario to its end; its figures by name.
fn figures(args: &[&str]) -> Vec<(String, f64)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("figures.json");
    let output =
        Command::new(LOADTEST).args(args).arg("--start").arg(carillon()).arg("--json").arg(&json).output();
    let output = output.expect("the load tool starts");
    assert!(output.status.success(), "{output:?}");
    let table: Value = serde_json::from_slice(&std::fs::read(&json).expect("figures")).expect("JSON");
    let figure = |figure: &Value| Some((figure["name"].as_str()?.to_owned(), figure["value"].as_f64()?));
    table["figures"].as_array().expect("figures").iter().filter_map(figure).collect()
}

fn value(figures: &[(String, f64)], name: &str) -> f64 {
    let found = figures.iter().find(|(known, _)| known.contains(name));
    found.unwrap_or_else(|| panic!("no {name} among {figures:?}")).1
}

#[test]
fn storm_brings_everyone_back_with_everything() {
    let args = ["storm", "--sessions", "120", "--members", "10", "--rooms", "3", "--missed", "4"];
    let figures = figures(&args);
    assert_eq!(value(&figures, "sessions cut and back"), 120.0);
    // Each is in three rooms, and each of those got four messages.
    assert_eq!(value(&figures, "events caught up with"), 120.0 * 3.0 * 4.0);
}

#[test]
fn sends_are_all_acknowledged() {
    let args =
        ["sends", "--sessions", "10", "--rooms", "20", "--rate", "200", "--seconds", "1", "--warm-up", "1"];
    let figures = figures(&args);
    assert!(value(&figures, "acknowledged") > 0.0);
    // Two seconds of sends, each to two members.
    assert!((700.0..=900.0).contains(&value(&figures, "events delivered and checked")), "{figures:?}");
}

#[test]
fn fanout_stands_beside_its_floor_and_nats_server() {
    let nats = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".into());
    let args = ["fanout", "--subscribers", "20", "--seconds", "1", "--turns", "1", "--nats", &nats];
    let figures = figures(&args);
    for name in
        ["20 subscribers, 1 outstanding", "bare writes", "nats-server's WebSocket", "to nats-server's"]
    {
        assert!(value(&figures, name) > 0.0, "{name}: {figures:?}");
    }
}

#[test]
fn a_gateway_that_is_not_there_is_said_to_be_missing() {
    let output = Command::new(LOADTEST).args(["storm", "--start", "/nowhere/carillon"]).output();
    let output = output.expect("the load tool starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot start /nowhere/carillon"), "{output:?}");
}
