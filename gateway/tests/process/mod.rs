//! The program `carillon` as a process of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// The program with these arguments, and nothing of the developer's own settings.
pub(crate) fn carillon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carillon"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARILLON_")) {
        command.env_remove(name);
    }
    command.args(args).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    carillon(args).output().expect("the program starts")
}

/// What it printed, when all went well.
pub(crate) fn stdout_of(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// The one line it said, when it failed with `code`.
pub(crate) fn complaint_of(output: Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8(output.stderr).expect("it prints UTF-8");
    let line = stderr.strip_prefix("carillon: ").and_then(|line| line.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("not a line of its own: {stderr}"));
    assert!(!line.contains('\n'), "more than one line: {stderr}");
    line.to_owned()
}

/// A gateway that runs, on a free port, until it is dropped; then it is killed.
pub(crate) struct Gateway {
    child: Child,
    greeting: String,
    /// A process that writes to nobody could fail.
    _stdout: BufReader<ChildStdout>,
}

impl Gateway {
    /// Starts it and waits until it listens.
    pub(crate) fn start(data: &TempDir) -> Self {
        Self::start_with(data, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(data: &TempDir, flags: &[&str]) -> Self {
        let mut command = carillon(&["serve", "--listen", "127.0.0.1:0", "--log-level", "error", "--data"]);
        let mut child =
            command.arg(data.path()).args(flags).stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut greeting = String::new();
        while !greeting.contains("  open") {
            let read = stdout.read_line(&mut greeting).expect("it prints UTF-8");
            assert!(read > 0, "it ended and had said: {greeting}");
        }
        Self { child, greeting, _stdout: stdout }
    }

    /// Address and port where it listens.
    pub(crate) fn address(&self) -> &str {
        self.said("listens on")
    }

    /// The word behind that label of the greeting.
    pub(crate) fn said(&self, label: &str) -> &str {
        let line = self.greeting.lines().find_map(|line| line.trim().strip_prefix(label));
        line.and_then(|line| line.split_whitespace().next()).expect("the greeting says it")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().expect("it is our child").code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Errors only say that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
