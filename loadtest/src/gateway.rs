//! The gateway under test: started here, watched from outside, stopped by its own id.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::tls::{self, Trust};

/// How long a gateway may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway of our own, or one that runs already.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Which certificate it must show there; none where it is plain.
    pub tls: Option<Trust>,
    /// Further gateways of its cluster, at which clients are as well.
    pub others: Vec<SocketAddr>,
    key: PathBuf,
    data: PathBuf,
    own: Option<Own>,
}

struct Own {
    program: PathBuf,
    flags: Vec<String>,
    child: Child,
    /// Goes with the gateway.
    _dir: tempfile::TempDir,
}

impl Gateway {
    /// Starts `program` on a free port and in a temporary folder; over TLS, with a certificate made there.
    pub fn start(program: &Path, is_tls: bool, flags: &[String]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let mut flags = flags.to_vec();
        let mut tls = None;
        if is_tls {
            tls = Some(tls::make_certificate(dir.path())?);
            flags.push(format!("--tls-certificate={}", dir.path().join("cert.pem").display()));
            flags.push(format!("--tls-key={}", dir.path().join("key.pem").display()));
        }
        let (child, address) = spawn(program, &data, "127.0.0.1:0", is_tls, &flags)?;
        let own = Own { program: program.to_owned(), flags, child, _dir: dir };
        let key = own_key(&data);
        Ok(Self { address, tls, others: Vec::new(), key, data, own: Some(own) })
    }

    /// One that runs already; `data` is where its development key is.
    pub fn running(address: SocketAddr, tls: Option<Trust>, data: &Path) -> Self {
        let (others, key, data) = (Vec::new(), own_key(data), data.to_owned());
        Self { address, tls, others, key, data, own: None }
    }

    /// The gateways of a cluster, which take tokens that are signed with this key.
    pub fn of_cluster(addresses: &[SocketAddr], key: &Path) -> anyhow::Result<Self> {
        let (&address, others) = addresses.split_first().context("a cluster without a gateway")?;
        let (others, key, data) = (others.to_vec(), key.to_owned(), PathBuf::new());
        Ok(Self { address, tls: None, others, key, data, own: None })
    }

    /// The key that its tokens are signed with.
    pub fn key(&self) -> PathBuf {
        self.key.clone()
    }

    /// Its process id, where it is ours.
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.child.id())
    }

    /// Stops it in order and starts it again, on the same data and port.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.signal(libc::SIGTERM)?;
        self.start_again()
    }

    /// Kills it, at once.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Starts it again after it was stopped.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let own =
            self.own.as_mut().context("only a gateway that was started here can be restarted (--start)")?;
        let address = self.address.to_string();
        own.child = spawn(&own.program, &self.data, &address, self.tls.is_some(), &own.flags)?.0;
        Ok(())
    }

    fn signal(&mut self, signal: i32) -> anyhow::Result<()> {
        let own =
            self.own.as_mut().context("only a gateway that was started here can be stopped (--start)")?;
        send_signal(&own.child, signal);
        wait(&mut own.child)
    }

    /// What it counts (`/v1/stats`).
    pub fn stats(&self) -> anyhow::Result<Value> {
        self.stats_of(self.address)
    }

    /// What each gateway of its cluster counts, its own first.
    pub fn stats_of_all(&self) -> anyhow::Result<Vec<Value>> {
        [self.address].iter().chain(&self.others).map(|&address| self.stats_of(address)).collect()
    }

    fn stats_of(&self, address: SocketAddr) -> anyhow::Result<Value> {
        let mut stream = TcpStream::connect(address)?;
        let answer = match self.tls {
            None => get_stats(&mut stream)?,
            Some(trust) => {
                get_stats(&mut rustls::Stream::new(&mut tls::connection(&trust.config()?)?, &mut stream))?
            }
        };
        let body = answer.split("\r\n\r\n").nth(1).context("an answer without a body")?;
        Ok(serde_json::from_str(body)?)
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let pid = self.pid().context("memory is measured of a gateway that was started here (--start)")?;
        resident_bytes(pid)
    }

    /// The processor time it has used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(self.pid().context("time is measured of a gateway that was started here (--start)")?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            send_signal(&own.child, libc::SIGTERM);
            if wait(&mut own.child).is_err() {
                let _ = own.child.kill();
                let _ = own.child.wait();
            }
        }
    }
}

/// Where a gateway keeps the key that it makes for itself.
fn own_key(data: &Path) -> PathBuf {
    data.join("keys/dev.hs256")
}

fn get_stats(stream: &mut (impl Read + Write)) -> io::Result<String> {
    stream.write_all(b"GET /v1/stats HTTP/1.1\r\nHost: node\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A process's resident memory, in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    bytes_in(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// What a file of `/proc` says behind that label, in bytes.
pub fn bytes_in(file: &str, label: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let line = line.with_context(|| format!("no {label} in {file}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// What the kernel's slabs take, in bytes.
pub fn kernel_bytes() -> anyhow::Result<u64> {
    bytes_in("/proc/meminfo", "Slab:")
}

/// The processor time a process has used.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces; what follows it does not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    // SAFETY: sysconf reads a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1000 / per_second))
}

/// Starts a gateway that listens there; where that is over TLS, plainly on a port of its own too.
fn spawn(
    program: &Path,
    data: &Path,
    listen: &str,
    is_tls: bool,
    flags: &[String],
) -> anyhow::Result<(Child, SocketAddr)> {
    let (doors, label): (&[&str], _) = match is_tls {
        false => (&["--listen", listen], "listens on"),
        true => (&["--listen", "127.0.0.1:0", "--tls-listen", listen], "over TLS on"),
    };
    let mut child = Command::new(program)
        .args(["serve", "--log-level", "warn", "--data"])
        .arg(data)
        .args(doors)
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut address = None;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    for line in lines.map_while(Result::ok) {
        if let Some(rest) = line.trim().strip_prefix(label) {
            address = rest.split_whitespace().next().and_then(|it| it.parse().ok());
        }
        if line.trim().starts_with("open") {
            return Ok((child, address.context("the gateway did not say where it listens")?));
        }
    }
    let ended = child.wait()?;
    bail!(
        "the gateway did not start ({ended}); try it by hand: {} serve --data {}",
        program.display(),
        data.display()
    )
}

fn send_signal(child: &Child, signal: i32) {
    // SAFETY: a child that was not waited for keeps its id, so nobody else can get the signal.
    unsafe { libc::kill(child.id() as i32, signal) };
}

fn wait(child: &mut Child) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            bail!("the gateway did not stop within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
