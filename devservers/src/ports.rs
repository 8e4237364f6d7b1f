//! Ports that nobody uses.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::TcpListener;

use anyhow::bail;

/// Below what systems hand to outgoing connections (32768 on Linux): a stopped server finds its ports free when it is
/// started again, unless another server took them.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;
const TRIES: usize = 1000;

/// As many different ports of 127.0.0.1 as asked for, on which nobody listens just now.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    // Held until all are found, so that none comes twice.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for _try in 0..TRIES {
        if held.len() == N {
            return Ok(ports);
        }
        let port = FIRST + random() % COUNT;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            ports[held.len()] = port;
            held.push(listener);
        }
    }
    bail!("found no {N} free ports from {FIRST} to {}", FIRST + COUNT)
}

fn random() -> u16 {
    RandomState::new().hash_one(std::process::id()) as u16
}
