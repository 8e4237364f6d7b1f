//! Another server under the same work, with its clients in a process of their own; it takes a turn when it is told to.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde::Serialize;

use super::Turn;

/// The process that has the clients. Ends with this value.
pub(super) struct Rival {
    process: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Rival {
    /// Starts this program again as `role`, with its order.
    pub(super) fn start(role: &str, order: &impl Serialize) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([role, &serde_json::to_string(order)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().context("no input")?;
        let reports = BufReader::new(process.stdout.take().context("no output")?).lines();
        Ok(Self { process, orders, reports })
    }

    /// Has it take a turn.
    pub(super) fn turn(&mut self) -> anyhow::Result<Turn> {
        writeln!(self.orders, "turn")?;
        Ok(serde_json::from_str(&self.report()?)?)
    }

    /// The next line it says.
    pub(super) fn report(&mut self) -> anyhow::Result<String> {
        Ok(self.reports.next().context("the other server's clients have died; see above")??)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
