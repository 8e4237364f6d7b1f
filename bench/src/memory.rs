//! What a process holds, for benches that print what a thing costs.
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::error::Error;

use crate::allocated;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes that are resident, as the system has them.
    pub resident: usize,
    /// Bytes that are allocated, as they were asked for; 0 where the program's allocator is not [`allocated::Counting`].
    pub allocated: usize,
}

impl Memory {
    /// As of now. An error where the system does not say.
    pub fn now() -> Result<Self, Box<dyn Error>> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.split_whitespace().next()).ok_or("the system does not say VmRSS")?;
        Ok(Self { resident: kib.parse::<usize>()? * 1024, allocated: allocated::bytes() })
    }

    /// Prints by how many bytes each of so many things made it grow since `before`.
    pub fn print_slope(&self, what: &str, before: &Self, count: u64) {
        let slope = |after: usize, before: usize| (after as f64 - before as f64) / count as f64;
        let (resident, allocated) =
            (slope(self.resident, before.resident), slope(self.allocated, before.allocated));
        println!("{what:<46} {resident:>12.0} {allocated:>12.0}");
    }
}
