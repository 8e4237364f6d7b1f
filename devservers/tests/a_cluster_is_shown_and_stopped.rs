//! `carillon-devservers cluster` says when every partition has its home, says who took over from a gateway that was killed, and at
//! Ctrl-C stops everything and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Reads on until a line has this in it; that line.
fn until(lines: &mut BufReader<ChildStdout>, what: &str) -> String {
    let mut said = String::new();
    loop {
        let before = said.len();
        assert!(lines.read_line(&mut said).unwrap() > 0, "it ended without `{what}`:\n{said}");
        if said[before..].contains(what) {
            return said[before..].trim_end().to_owned();
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn start() -> (Child, BufReader<ChildStdout>) {
    let program = Path::new(env!("CARGO_BIN_EXE_carillon-devservers"));
    let mut command = Command::new(program);
    command.args(["cluster", "--gateways", "2", "--nats-servers", "1"]).stdout(Stdio::piped());
    // Where it is built already, it need not be looked at again.
    let carillon = program.with_file_name("carillon");
    if carillon.is_file() {
        command.env("CARILLON", carillon);
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

#[test]
fn who_took_over_is_said() {
    let (mut cluster, mut lines) = start();
    let folder = until(&mut lines, "logs and data").rsplit(' ').next().unwrap().to_owned();
    until(&mut lines, "settled");
    let line = until(&mut lines, "gateway-2 up");
    let pid = line.split("pid ").nth(1).unwrap().split(':').next().unwrap();
    signal(pid.parse().unwrap(), Signal::KILL);
    until(&mut lines, "gateway-2 ended (signal 9)");
    until(&mut lines, "gateway-1 is the home of");
    until(&mut lines, "every partition has its home again");
    assert!(until(&mut lines, "gateway-1 up").contains("home of 64"));
    signal(cluster.id(), Signal::INT);
    until(&mut lines, "gateway-1 stopped");
    until(&mut lines, "nats-1 stopped");
    until(&mut lines, "all stopped");
    assert!(cluster.wait().unwrap().success());
    assert!(!Path::new(&folder).exists());
}
