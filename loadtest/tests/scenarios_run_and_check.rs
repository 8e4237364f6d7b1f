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

/// The echo servers are built beside it too, by what builds everything.
fn echo_servers_are_there() {
    for name in ["examples/echo", "echo_fastwebsockets", "echo_tungstenite"] {
        let program = Path::new(LOADTEST).with_file_name(name);
        let how = "cargo build -p carillon-gateway --example echo; cargo build -p carillon-bench";
        assert!(program.exists(), "{} is missing: {how}", program.display());
    }
}

fn nats_server() -> String {
    std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".into())
}

/// Runs a scenario to its end; its figures by name.
fn figures(args: &[&str]) -> Vec<(String, f64)> {
    let gateway = carillon();
    let started = [args, &["--start", gateway.to_str().expect("a path in UTF-8")]].concat();
    run(&started).0
}

/// Runs the load tool to its end; its figures by name, what people see, and which servers were missing.
fn run(args: &[&str]) -> (Vec<(String, f64)>, String, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("figures.json");
    let output = Command::new(LOADTEST).args(args).arg("--json").arg(&json).output();
    let output = output.expect("the load tool starts");
    assert!(output.status.success(), "{output:?}");
    let table: Value = serde_json::from_slice(&std::fs::read(&json).expect("figures")).expect("JSON");
    let figure = |figure: &Value| Some((figure["name"].as_str()?.to_owned(), figure["value"].as_f64()?));
    let figures = table["figures"].as_array().expect("figures").iter().filter_map(figure).collect();
    (figures, String::from_utf8_lossy(&output.stdout).into_owned(), table["missing"].clone())
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
fn hold_reaches_every_session_of_every_gateway() {
    let size = ["hold", "--gateways", "3", "--sessions", "100", "--rest", "2", "--messages", "2"];
    let figures = figures(&[&size[..], &["--flag=--ping-interval-ms=1000"]].concat());
    assert_eq!(value(&figures, "sessions held to the end"), 100.0);
    assert_eq!(value(&figures, "sessions that answered pings"), 100.0);
    assert_eq!(value(&figures, "messages that every session heard"), 2.0);
    assert_eq!(value(&figures, "deliveries"), 200.0);
}

#[test]
fn hold_says_how_many_gateways_it_takes_before_it_starts_one() {
    let gateway = carillon();
    let command =
        format!("ulimit -n 1000; exec {LOADTEST} hold --sessions 5000 --start {}", gateway.display());
    let output = Command::new("sh").args(["-c", &command]).output().expect("a shell starts");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("at most 700 sessions each") && said.contains("--gateways"), "{said}");
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
fn chat_counts_every_delivery_and_everyone_who_comes_back() {
    let people = ["--sessions", "40", "--rooms", "10", "--members", "8", "--reconnects-per-hour", "600"];
    let rates = ["--sends-per-minute", "60", "--reads-per-minute", "60", "--typing-per-minute", "60"];
    let run = ["--seconds", "2", "--warm-up", "1", "--ramp", "1", "--workers", "2"];
    let figures = figures(&[&["chat"][..], &people, &rates, &run].concat());
    // 40 a second for three seconds, after a second in which half as many are sent; eight hear each, live or later, and who
    // comes back in between both ways.
    let heard = value(&figures, "events delivered") + value(&figures, "events they caught up with");
    assert!((1_080.0..=1_400.0).contains(&heard), "{figures:?}");
    assert!(value(&figures, "sessions cut and back") > 0.0, "{figures:?}");
    assert!(value(&figures, "read markers acknowledged") > 0.0, "{figures:?}");
    assert!(value(&figures, "typing and read markers heard") > 0.0, "{figures:?}");
}

#[test]
fn broadcast_reaches_every_member_of_every_worker() {
    let crowd = ["--subscribers", "50", "--senders", "5", "--rate", "40"];
    let figures = figures(
        &[&["broadcast"][..], &crowd, &["--seconds", "2", "--warm-up", "0", "--workers", "2"]].concat(),
    );
    let events = value(&figures, "events delivered and checked");
    // What told of the room's members may come among them.
    assert!((80.0 * 50.0..=82.0 * 50.0).contains(&events), "{figures:?}");
    assert!(value(&figures, "99 % within") > 0.0, "{figures:?}");
}

#[test]
fn slow_readers_lag_and_lose_nothing() {
    // More for each than the kernel keeps for a connection.
    let crowd = ["--subscribers", "10", "--slow-percent", "20", "--rate", "400", "--bytes", "16000"];
    let figures = figures(&[&["slow"][..], &crowd, &["--seconds", "2", "--warm-up", "0"]].concat());
    assert!(value(&figures, "told that they lag") >= 2.0, "{figures:?}");
    assert!(value(&figures, "events they caught up with") > 0.0, "{figures:?}");
}

#[test]
fn soak_judges_memory_by_the_second_half() {
    let figures =
        figures(&["soak", "--minutes", "0.05", "--sessions", "20", "--rooms", "10", "--members", "2"]);
    assert!(value(&figures, "memory in the second half") > 1.0, "{figures:?}");
}

#[test]
fn connect_opens_at_the_rate_it_is_given() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("report.html");
    let page_argument = page.to_str().expect("a path of text");
    let run = ["connect", "--rate", "100", "--seconds", "2", "--workers", "2", "--html", page_argument];
    assert_eq!(value(&figures(&run), "sessions opened"), 100.0);
    let page = std::fs::read_to_string(page).expect("a page");
    assert_eq!(page.matches("<figure").count(), 4, "sessions, their latency, memory, processor");
}

#[test]
fn a_report_is_one_page_with_a_line_for_what_was_seen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("report.html");
    let page_argument = page.to_str().expect("a path of text");
    let sizes = ["--sessions", "10", "--rooms", "10", "--rate", "100", "--seconds", "2", "--warm-up", "1"];
    figures(&[&["sends"][..], &sizes, &["--html", page_argument]].concat());
    let page = std::fs::read_to_string(page).expect("a page");
    assert_eq!(page.matches("<figure").count(), 5, "throughput, two latencies, memory, processor");
    for index in 0..3 {
        let line = format!("class=\"line l{index}\" d=\"M");
        assert!(page.contains(&line), "three lines of throughput");
    }
    assert!(
        !page.contains("src=") && !page.contains("href=") && !page.contains("@import"),
        "nothing from elsewhere"
    );
}

#[test]
fn over_tls_it_is_the_same() {
    for transport in ["ws", "tcp"] {
        let size = ["--sessions", "40", "--members", "10", "--rooms", "2", "--missed", "3"];
        let figures = figures(&[&["storm", "--tls", "--transport", transport], &size[..]].concat());
        assert_eq!(value(&figures, "sessions cut and back"), 40.0);
        assert_eq!(value(&figures, "events caught up with"), 40.0 * 2.0 * 3.0);
    }
    let size = ["--sessions", "4", "--rooms", "5", "--rate", "50", "--seconds", "1", "--warm-up", "1"];
    let figures = figures(&[&["sends", "--tls-any"], &size[..]].concat());
    assert!(value(&figures, "acknowledged") > 0.0);
}

#[test]
fn fanout_stands_beside_its_floor_and_nats_server() {
    let nats = nats_server();
    let args = ["fanout", "--subscribers", "20", "--seconds", "1", "--turns", "1", "--nats", &nats];
    let figures = figures(&args);
    for name in
        ["1 outstanding: Carillon", "bare writes", "nats-server", "Carillon to nats-server, a server CPU"]
    {
        assert!(value(&figures, name) > 0.0, "{name}: {figures:?}");
    }
}

#[test]
fn echo_compares_every_byte_with_what_was_said_and_carillon_with_others() {
    echo_servers_are_there();
    let (figures, ..) =
        run(&["echo", "--connections", "4", "--outstanding", "3", "--seconds", "1", "--turns", "1"]);
    for name in
        ["3 outstanding on each: Carillon", "Carillon to fastwebsockets", "Carillon to tokio-tungstenite"]
    {
        assert!(value(&figures, name) > 0.0, "{name}: {figures:?}");
    }
}

#[test]
fn an_echo_server_that_answers_nobody_ends_the_run() {
    // It says where it listens, as the echo servers do, and does not.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("not-an-echo");
    std::fs::write(&program, "#!/bin/sh\necho 'listens on 127.0.0.1:1'\n").expect("written");
    let mut mode = std::fs::metadata(&program).expect("there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o700);
    std::fs::set_permissions(&program, mode).expect("made a program");
    let output = Command::new(LOADTEST).args(["echo", "--seconds", "1", "--echo"]).arg(&program).output();
    assert_eq!(output.expect("the load tool starts").status.code(), Some(1));
}

#[test]
fn peers_are_compared_in_one_run_and_who_is_not_there_is_said_to_be_missing() {
    echo_servers_are_there();
    let (gateway, nats) = (carillon(), nats_server());
    let small = ["--connections", "4", "--subscribers", "20", "--seconds", "1", "--turns", "1"];
    let gateway = gateway.to_str().expect("a path in UTF-8");
    let programs = ["peers", "--start", gateway, "--nats", &nats, "--centrifugo", "/nowhere/centrifugo"];
    let (figures, shown, missing) = run(&[&programs[..], &small].concat());
    for name in [
        "16 outstanding on each: Carillon to fastwebsockets, a server CPU",
        "1 outstanding: Carillon to nats-server, a server CPU",
        "16 outstanding: Carillon to bare writes, a second",
        "nats-server: an idle subscriber",
    ] {
        assert!(value(&figures, name) > 0.0, "{name}: {figures:?}");
    }
    assert!(shown.contains("not given; cargo install sockudo, then --sockudo PROGRAM"), "{shown}");
    assert!(shown.contains("Centrifugo         took no part"), "{shown}");
    let names: Vec<_> = missing.as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Sockudo", "Centrifugo"], "for machines too: {missing}");
}

#[test]
fn peers_asks_for_the_program_and_for_nothing_that_it_cannot_use() {
    for scenario in ["peers", "fanout", "hold", "capacity"] {
        let output =
            Command::new(LOADTEST).args([scenario, "--help"]).output().expect("the load tool starts");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(help.contains("--start <PROGRAM>"), "{help}");
        assert!(!help.contains("--address") && !help.contains("--data"), "{help}");
    }
}

#[test]
fn a_gateway_that_is_not_there_is_said_to_be_missing() {
    let output = Command::new(LOADTEST).args(["storm", "--start", "/nowhere/carillon"]).output();
    let output = output.expect("the load tool starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot start /nowhere/carillon"), "{output:?}");
}
