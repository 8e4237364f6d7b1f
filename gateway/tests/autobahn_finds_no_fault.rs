//! The Autobahn suite's own cases, run by kosoku, find no fault with the transport: framing, pings, reserved bits, opcodes,
//! fragments, UTF-8, closes, and messages of up to 16 MiB.
//!
//! They talk to `examples/echo.rs`, which is the gateway's transport and outboxes, without sessions. Groups 12 and 13 are about
//! compression, which the gateway does not offer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What is left without compression.
const CASES: usize = 301;

#[test]
fn in_any_case() {
    let (_server, address) = Echo::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = std::env::var_os("KOSOKU").unwrap_or_else(|| "kosoku".into());
    let output = Command::new(program)
        .args(["--exclude", "12.*", "--exclude", "13.*", "--parallelism", "32", "--outdir"])
        .arg(folder.path())
        .arg(format!("ws://{address}/v1/ws"))
        .output()
        .expect("this test needs kosoku, on the PATH or where KOSOKU says; ./test installs it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains(&format!("{CASES} cases passed")), "{output:?}");
}

/// The echo server, until it is dropped.
struct Echo(Child);

impl Echo {
    fn start() -> (Self, String) {
        let program = Path::new(env!("CARGO_BIN_EXE_carillon")).with_file_name("examples/echo");
        let mut child = Command::new(&program)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; cargo build --examples", program.display()));
        let mut line = String::new();
        let output = child.stdout.take().expect("stdout is piped");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listens on ").expect("it says where it listens");
        (Self(child), address.to_owned())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
