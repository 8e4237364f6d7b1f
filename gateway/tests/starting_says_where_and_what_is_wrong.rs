//! A gateway that starts says where it listens and stores and what to open; one that cannot says why in one
//! line, and what to do.

mod process;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::Stdio;

use process::{Gateway, carillon, complaint_of, run};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn it_says_where_it_listens_and_stores_and_what_to_open() {
    let data = TempDir::new().unwrap();
    let gateway = Gateway::start(&data);
    TcpStream::connect(gateway.address()).expect("it listens where it says");
    let (greeting, data) = (gateway.greeting(), data.path().display());
    assert!(greeting.contains(&format!("  open         http://{}/\n", gateway.address())), "{greeting}");
    assert!(greeting.contains(&format!("  stores in    {data}\n")), "{greeting}");
    assert!(greeting.contains(&format!("carillon token --user 42 --data {data}\n")), "{greeting}");
}

#[test]
fn machines_read_the_same_in_the_log() {
    let data = TempDir::new().unwrap();
    let args = ["--listen", "127.0.0.1:0", "--log-format", "json", "--data", data.path().to_str().unwrap()];
    let mut child = carillon(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).expect("a line of JSON"));
    let started = lines.find(|line| line["message"] == "started");
    child.kill().unwrap();
    let mut printed = String::new();
    child.wait().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();

    assert!(started.unwrap()["listen"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(printed, "", "nothing for people on stdout");
}

#[test]
fn told_to_stop_it_ends_well() {
    assert_eq!(Gateway::start(&TempDir::new().unwrap()).stop(), Some(0));
}

#[test]
fn a_port_in_use_is_named_with_the_way_to_another() {
    let (data, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let gateway = Gateway::start(&data);
    let line =
        complaint_of(run(&["--listen", gateway.address(), "--data", other.path().to_str().unwrap()]), 1);
    assert!(
        line.starts_with(&format!("cannot listen on {}: the port is in use", gateway.address())),
        "{line}"
    );
    assert!(line.contains("--listen 127.0.0.1:0"), "{line}");
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // 192.0.2.0/24 is nobody's: it is reserved for documentation.
    let data = TempDir::new().unwrap();
    let line = complaint_of(run(&["--listen", "192.0.2.1:8080", "--data", data.path().to_str().unwrap()]), 1);
    assert!(line.contains("is not one of this machine's"), "{line}");
}

#[test]
fn a_data_folder_in_use_is_named() {
    let data = TempDir::new().unwrap();
    let _gateway = Gateway::start(&data);
    let line = complaint_of(run(&["--listen", "127.0.0.1:0", "--data", data.path().to_str().unwrap()]), 1);
    assert!(line.contains("is in use by another carillon") && line.contains("--data DIR"), "{line}");
}

#[test]
fn a_data_folder_is_free_again_after_kill_9() {
    let data = TempDir::new().unwrap();
    drop(Gateway::start(&data));
    assert_eq!(Gateway::start(&data).stop(), Some(0));
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let data = folder.path().join("file/data");
    let line = complaint_of(run(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]), 1);
    assert!(line.starts_with("cannot write in the data folder") && line.contains("--data DIR"), "{line}");
}

#[test]
fn a_bad_setting_is_a_mistake_of_the_caller_wherever_it_stands() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my.toml");
    std::fs::write(&file, "\nshard = 2\n").unwrap();
    let line = complaint_of(run(&["serve", "--config", file.to_str().unwrap()]), 2);
    assert!(line.contains("my.toml:2: there is no setting \"shard\", did you mean \"shards\"?"), "{line}");

    let line = complaint_of(carillon(&[]).env("CARILLON_SHARDS", "x").output().unwrap(), 2);
    assert!(line.starts_with("CARILLON_SHARDS: shards cannot be \"x\""), "{line}");

    let line = complaint_of(run(&["serve", "--shards", "x"]), 2);
    assert!(line.starts_with("--shards: shards cannot be \"x\""), "{line}");

    let line = complaint_of(run(&["serve", "--config", "missing.toml"]), 2);
    assert!(line.starts_with("cannot read the settings file missing.toml"), "{line}");
}

#[test]
fn an_unknown_flag_is_answered_with_the_likely_one() {
    let output = run(&["serve", "--lisen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'--listen'"), "{output:?}");
}

#[test]
fn a_reader_of_its_output_that_stops_reading_is_no_failure() {
    let command = format!("'{}' config | head -c 1", env!("CARGO_BIN_EXE_carillon"));
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
}
