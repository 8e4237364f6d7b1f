//! Another server under the same work, with its clients in a process of their own; it takes a turn when it is told to.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::Turn;

/// How long it may take to end: a turn, at the most.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process that has the clients. Ends with this value.
pub(super) struct Rival {
    process: Child,
    /// Nothing only while this is being dropped.
    orders: Option<ChildStdin>,
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
        let orders = process.stdin.take();
        let reports = BufReader::new(process.stdout.take().context("no output")?).lines();
        Ok(Self { process, orders, reports })
    }

    /// Has it take a turn.
    pub(super) fn turn(&mut self) -> anyhow::Result<Turn> {
        writeln!(self.orders.as_mut().context("no input")?, "turn")?;
        Ok(serde_json::from_str(&self.report()?)?)
    }

    /// The next line it says.
    pub(super) fn report(&mut self) -> anyhow::Result<String> {
        Ok(self.reports.next().context("the other server's clients have died; see above")??)
    }
}

/// The clients' own side: a turn for every line that comes, until no more do.
pub(super) fn take_turns(mut turn: impl FnMut() -> anyhow::Result<Turn>) -> anyhow::Result<()> {
    for line in std::io::stdin().lines() {
        line?;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&turn()?)?)?;
    }
    Ok(())
}

impl Drop for Rival {
    fn drop(&mut self) {
        // Without orders it ends by itself, and takes the server it started with it.
        drop(self.orders.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
