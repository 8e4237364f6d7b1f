//! A gateway of a cluster, as a process of its own.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::process::{Server, Spec};

/// How long a gateway may take to answer; a frozen one never does.
const ANSWER: Duration = Duration::from_millis(500);
/// Where the development key is, in a gateway's data folder.
const DEVELOPMENT_KEY: &str = "keys/dev.hs256";
const SECRET_BYTES: u64 = 32;

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The program `carillon`.
    pub program: PathBuf,
    /// What it is called, among the others too.
    pub name: String,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Where its log and, in a folder of its name, its data are.
    pub folder: PathBuf,
    /// More arguments for `carillon serve`.
    pub args: Vec<OsString>,
}

/// A gateway that was started here; dropped, it is stopped.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub server: Server,
    config: GatewayConfig,
}

impl Gateway {
    /// Starts it. It answers a little later.
    pub fn start(config: GatewayConfig) -> anyhow::Result<Self> {
        let mut args: Vec<OsString> = vec!["serve".into()];
        let listen = format!("127.0.0.1:{}", config.port);
        args.extend(["--listen".into(), listen.into(), "--data".into(), config.data().into()]);
        args.extend(["--node".into(), config.name.clone().into()]);
        args.extend(config.args.iter().cloned());
        let spec = Spec {
            name: config.name.clone(),
            program: config.program.clone(),
            args,
            env: Vec::new(),
            folder: config.folder.clone(),
        };
        Ok(Self { server: Server::start(spec)?, config })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What opens in a browser.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.config.port)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.config.data()
    }

    /// What it counts, as `/v1/stats` shows it.
    pub fn stats(&self) -> anyhow::Result<Value> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.config.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        // HTTP/1.0: the answer ends with the connection, and comes in one piece.
        stream.write_all(b"GET /v1/stats HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        Ok(serde_json::from_str(body)?)
    }
}

impl GatewayConfig {
    fn data(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// Gives all these data folders one development key, so that a token of one gateway is good at every other. A key that one of
/// them has already, from an earlier run, goes to all.
pub fn share_development_key(folders: &[PathBuf]) -> anyhow::Result<()> {
    let known = folders.iter().find_map(|folder| fs::read(folder.join(DEVELOPMENT_KEY)).ok());
    let secret = match known {
        Some(secret) => secret,
        None => {
            let mut secret = Vec::new();
            fs::File::open("/dev/urandom")?.take(SECRET_BYTES).read_to_end(&mut secret)?;
            hex(&secret).into_bytes()
        }
    };
    for folder in folders {
        let key = folder.join(DEVELOPMENT_KEY);
        let parent = key.parent().context("the key has a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot write in {}", parent.display()))?;
        if key.exists() {
            continue;
        }
        // Whoever has it can be anybody here.
        let mut file = fs::File::options().create_new(true).write(true).mode(0o600).open(&key)?;
        file.write_all(&secret)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The program `carillon`: what `CARILLON` names, or the one beside this program. Started by `cargo run`, it is built first, so
/// that it is there and as new as this program is.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("CARILLON").filter(|named| !named.is_empty()) {
        let named = Path::new(&named);
        return named.canonicalize().with_context(|| format!("CARILLON names {}", named.display()));
    }
    let me = std::env::current_exe()?;
    let folder = me.parent().context("this program has a folder")?;
    if let (Some(cargo), Some(manifest)) = (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    {
        build(Path::new(&cargo), Path::new(&manifest), folder)?;
    }
    let program = folder.join("carillon");
    ensure!(
        program.is_file(),
        "there is no {}: build it with `cargo build -p carillon-gateway`, or let CARILLON name it",
        program.display()
    );
    Ok(program)
}

fn build(cargo: &Path, manifest: &Path, folder: &Path) -> anyhow::Result<()> {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "carillon-gateway", "--bin", "carillon", "--profile", profile]);
    let status = command.current_dir(manifest).status().context("cannot run cargo")?;
    ensure!(status.success(), "the gateway does not build");
    Ok(())
}
