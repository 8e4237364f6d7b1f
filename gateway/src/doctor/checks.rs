//! A check a function: what it reads, what it means for connections, what to set.

use std::fs;
use std::path::Path;

use super::{
    Check, KERNEL_BYTES_PER_CONNECTION, Machine, NODE_BYTES_PER_SESSION, TLS_BYTES_PER_SESSION, thousands,
};
use crate::config::Config;
use crate::listen::BACKLOG;
use crate::tls::certificate::{Certificate, WARNED_DAYS};

/// Files a node holds beside its connections: the log, the store, its threads' pollers.
const OWN_FILES: u64 = 300;
/// What a node takes beside its sessions, in bytes: buffers of the store, the log's queue.
const OWN_BYTES: u64 = 256 << 20;
/// Kernel memory of a socket while something is under way, in bytes: one buffer of the least size each way.
const BUSY_SOCKET_BYTES: u64 = 4_096;

/// Each connection is an open file of the process.
pub(super) fn open_files(machine: &Machine, wanted: u64) -> Check {
    const NAME: &str = "open files of the process";
    let Some(most) = machine.descriptors.most else { return Check::good(NAME, "no limit") };
    let now = machine.descriptors.now.map_or("no limit".into(), thousands);
    let found = format!("{now} now, at most {} (carillon serve raises it)", thousands(most));
    let needed = wanted + OWN_FILES;
    let advice = format!(
        "LimitNOFILE={needed} in the unit of systemd, --ulimit nofile={needed} for a container, or a line in \
         /etc/security/limits.conf; or lower connections_max"
    );
    Check::of(NAME, found, most.saturating_sub(OWN_FILES), wanted, advice)
}

/// `fs.nr_open` bounds what one process may be given, `fs.file-max` what all hold together.
pub(super) fn open_files_of_the_system(machine: &Machine, wanted: u64) -> Check {
    const NAME: &str = "open files of the system";
    let of_a_process = number(&machine.proc.join("sys/fs/nr_open"));
    let of_all = number(&machine.proc.join("sys/fs/file-max"));
    let (Some(of_a_process), Some(of_all)) = (of_a_process, of_all) else {
        return Check::unknown(NAME, "fs.nr_open and fs.file-max cannot be read here");
    };
    let found = format!("fs.nr_open {}, fs.file-max {}", thousands(of_a_process), thousands(of_all));
    let (needed, most) = (wanted + OWN_FILES, of_a_process.min(of_all));
    let advice = format!("sysctl -w fs.nr_open={needed} fs.file-max={}", 2 * needed);
    Check::of(NAME, found, most.saturating_sub(OWN_FILES), wanted, advice)
}

/// The certificate that the settings name, if they name one: whether it can be shown, and for how long yet.
pub(super) fn certificate(config: &Config) -> Option<Check> {
    const NAME: &str = "TLS certificate";
    let (path, key) = (config.tls_certificate.as_ref()?, config.tls_key.as_ref()?);
    Some(match Certificate::read(path, key) {
        Err(error) => {
            Check::limits(NAME, error.to_string(), None, "without a good one carillon serve does not start")
        }
        Ok(Certificate { days_left, .. }) => {
            let found = format!("good for {} days", thousands(days_left));
            match days_left < WARNED_DAYS {
                true => Check::limits(NAME, found, None, "replace it, and send SIGHUP to carillon serve"),
                false => Check::good(NAME, found),
            }
        }
    })
}

/// What is free, here or in the container, against what sessions take of node and kernel.
pub(super) fn memory(machine: &Machine, config: &Config, wanted: u64) -> Check {
    const NAME: &str = "memory";
    let Some(free) = available_bytes(machine) else {
        return Check::unknown(NAME, "neither /proc/meminfo nor a limit of the container can be read here");
    };
    let tls = if config.tls_listen.is_some() { TLS_BYTES_PER_SESSION } else { 0 };
    let of_node = NODE_BYTES_PER_SESSION + tls;
    let each = of_node + KERNEL_BYTES_PER_CONNECTION;
    let holds = free.saturating_sub(OWN_BYTES) / each;
    let found = format!(
        "{} MiB free: {} idle sessions of {} bytes ({} the node's, {} the kernel's)",
        thousands(free >> 20),
        thousands(holds),
        thousands(each),
        thousands(of_node),
        thousands(KERNEL_BYTES_PER_CONNECTION),
    );
    let needed = (wanted * each + OWN_BYTES) >> 20;
    let advice = format!("{} MiB for as many as are asked for", thousands(needed));
    Check::of(NAME, found, holds, wanted, advice)
}

fn available_bytes(machine: &Machine) -> Option<u64> {
    let meminfo = fs::read_to_string(machine.proc.join("meminfo")).ok();
    let here = meminfo.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
    });
    let group = machine.sys.join("fs/cgroup");
    let in_container = number(&group.join("memory.max"))
        .map(|most| most.saturating_sub(number(&group.join("memory.current")).unwrap_or(0)));
    match (here, in_container) {
        (Some(here), Some(container)) => Some(here.min(container)),
        (here, container) => here.or(container),
    }
}

/// `net.ipv4.tcp_mem`: past its third number, in pages, the kernel takes nothing more for any socket.
pub(super) fn socket_memory(machine: &Machine, wanted: u64) -> Check {
    const NAME: &str = "socket memory";
    let text = fs::read_to_string(machine.proc.join("sys/net/ipv4/tcp_mem")).ok();
    let pages = text.as_deref().and_then(|text| text.split_whitespace().nth(2)?.parse::<u64>().ok());
    let Some(pages) = pages else {
        return Check::unknown(NAME, "net.ipv4.tcp_mem cannot be read here");
    };
    let holds = pages.saturating_mul(4_096) / BUSY_SOCKET_BYTES;
    let found = format!(
        "net.ipv4.tcp_mem ends at {} pages: {} sockets with something under way at once",
        thousands(pages),
        thousands(holds)
    );
    // A broadcast to everyone is under way on every socket.
    let advice = format!("sysctl -w net.ipv4.tcp_mem=\"{} {} {wanted}\"", wanted / 2, wanted / 4 * 3);
    Check::of(NAME, found, holds, wanted, advice)
}

/// `net.core.somaxconn` cuts the queue of connections that are made and not yet accepted.
pub(super) fn accept_queue(machine: &Machine) -> Check {
    const NAME: &str = "accept queue";
    let wanted = u64::try_from(BACKLOG).unwrap_or(0);
    match number(&machine.proc.join("sys/net/core/somaxconn")) {
        None => Check::unknown(NAME, "net.core.somaxconn cannot be read here"),
        Some(most) if most >= wanted => Check::good(
            NAME,
            format!("net.core.somaxconn {}: each shard may have {wanted} waiting", thousands(most)),
        ),
        Some(most) => Check::limits(
            NAME,
            format!("net.core.somaxconn {most}: a shard may have only so many waiting"),
            None,
            format!(
                "sysctl -w net.core.somaxconn={wanted}, or clients that come back all at once are dropped and try again"
            ),
        ),
    }
}

/// A firewall that tracks connections drops those it has no room for.
pub(super) fn tracked_connections(machine: &Machine, wanted: u64) -> Check {
    const NAME: &str = "tracked connections";
    let folder = machine.proc.join("sys/net/netfilter");
    let Some(most) = number(&folder.join("nf_conntrack_max")) else {
        return Check::good(NAME, "no connection tracking here");
    };
    let tracked = number(&folder.join("nf_conntrack_count")).unwrap_or(0);
    let found = format!("nf_conntrack_max {}, {} tracked now", thousands(most), thousands(tracked));
    let holds = most.saturating_sub(tracked);
    let advice = format!(
        "sysctl -w net.netfilter.nf_conntrack_max={}, or leave the node's port untracked (notrack)",
        wanted + wanted / 4
    );
    Check::of(NAME, found, holds, wanted, advice)
}

/// Nothing for those who come from many addresses; a proxy or a load tool has one.
pub(super) fn port_range(machine: &Machine) -> Check {
    const NAME: &str = "local ports";
    let text = fs::read_to_string(machine.proc.join("sys/net/ipv4/ip_local_port_range")).ok();
    let range = text.as_deref().and_then(|text| {
        let mut ends = text.split_whitespace().map(str::parse::<u64>);
        Some((ends.next()?.ok()?, ends.next()?.ok()?))
    });
    match range {
        Some((first, last)) if last >= first => Check::good(
            NAME,
            format!(
                "{first} to {last}: a proxy or a load tool here opens {} connections to the node from each of its addresses",
                thousands(last - first + 1)
            ),
        ),
        _ => Check::unknown(NAME, "net.ipv4.ip_local_port_range cannot be read here"),
    }
}

/// Shards against cores, and against the share of them that a container has.
pub(super) fn cores(machine: &Machine, config: &Config) -> Check {
    const NAME: &str = "cores";
    let quota = fs::read_to_string(machine.sys.join("fs/cgroup/cpu.max")).ok();
    let quota = quota.as_deref().and_then(|text| {
        let mut parts = text.split_whitespace().map(str::parse::<f64>);
        Some(parts.next()?.ok()? / parts.next()?.ok()?)
    });
    let shards = if config.shards == 0 { machine.cores } else { config.shards };
    let found = match quota {
        Some(quota) => {
            format!("{} cores, of which a container may use {quota:.1}; {shards} shards", machine.cores)
        }
        None => format!("{} cores; {shards} shards", machine.cores),
    };
    let has = quota.unwrap_or(f64::INFINITY).min(machine.cores as f64);
    if shards as f64 <= has.ceil() {
        return Check::good(NAME, found);
    }
    let advice = format!("shards = {}: more only take turns on the same core", has.ceil().max(1.0));
    Check::limits(NAME, found, None, advice)
}

/// A core that sleeps deeply or runs slowly answers late.
pub(super) fn governor(machine: &Machine) -> Check {
    const NAME: &str = "cpu governor";
    let file = machine.sys.join("devices/system/cpu/cpu0/cpufreq/scaling_governor");
    match fs::read_to_string(file).as_deref().map(str::trim) {
        Err(_) => {
            Check::good(NAME, "the cores' speed is not set here (a virtual machine, or no frequency scaling)")
        }
        Ok("performance") => Check::good(NAME, "performance"),
        Ok(other) => Check::limits(
            NAME,
            other,
            None,
            "cpupower frequency-set -g performance, where latency matters more than power",
        ),
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
