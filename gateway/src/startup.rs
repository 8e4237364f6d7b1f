//! Starting: the data folder, what can go wrong before the first client, and what people are told.
//!
//! Every error here is one line that says what to do about it.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::auth::KeyError;
use crate::cluster::join::JoinError;
use crate::config::{Config, LogFormat};
use crate::tls::certificate::CertificateError;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's, or not for this user.
    #[error("cannot listen on {address}: {}", listen_advice(flag, address, source))]
    Listen {
        /// The flag that says where.
        flag: &'static str,
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The node cannot be one of its cluster.
    #[error("{0}")]
    Join(#[from] JoinError),
    /// Nothing can be written in the data folder.
    #[error("cannot write in the data folder {}: {source}; choose another with --data DIR", path.display())]
    Data {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the data folder.
    #[error("the data folder {} is in use by another carillon; choose another with --data DIR", .0.display())]
    DataInUse(PathBuf),
    /// The data folder was made with another number of partitions.
    #[error(
        "the data folder {} has {stored} partitions, not {wanted}: their number is fixed at the first start",
        path.display()
    )]
    Partitions {
        /// Which folder.
        path: PathBuf,
        /// How many it has.
        stored: u16,
        /// How many were asked for.
        wanted: u16,
    },
    /// What is stored is not what was written.
    #[error("{} is corrupt: {what}; nothing was changed there", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] crate::log::LogError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] carillon_storage::StoreError),
    /// The password for the store's servers cannot be read.
    #[error("cannot read the password in {} (cql_password_file): {source}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What the log holds could not be archived.
    #[error("cannot archive what the log holds: {0}")]
    Archive(#[from] crate::follow::archive::ArchiveError),
    /// The keys for tokens cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Some of the settings of TLS are set, and not all.
    #[error("{0} is not set: TLS needs tls_listen, tls_certificate and tls_key")]
    TlsIncomplete(&'static str),
    /// The certificate cannot be shown.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The system refused something else, threads for instance.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn listen_advice(flag: &str, address: &SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "the port is in use; choose another with {flag}, such as {flag} {}:0 for a free one",
                host(address)
            )
        }
        io::ErrorKind::AddrNotAvailable => "that address is not one of this machine's".to_owned(),
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need a privilege; choose another with {flag}")
        }
        _ => source.to_string(),
    }
}

fn host(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// A data folder that belongs to this process until this value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if it is missing, and takes it. The lock ends with the process, however that ends.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::Data { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::DataInUse(path)),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Where it is, from the root on.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Lets the process hold as many files as it may: each connection is one, and the limit that a shell or a supervisor
/// hands down is often 1,024, with leave to raise it.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

/// What is printed once clients can connect.
pub struct Greeting<'a> {
    /// The settings in use.
    pub config: &'a Config,
    /// Where the gateway really listens.
    pub address: SocketAddr,
    /// And over TLS.
    pub tls_address: Option<SocketAddr>,
    /// Where it stores.
    pub data: &'a Path,
    /// How this program was called.
    pub program: &'a str,
    /// Whether tokens are signed with the development key.
    pub development: bool,
}

impl Greeting<'_> {
    /// Tells people on stdout, or machines in the log.
    pub fn announce(&self) {
        if let Some(warning) = self.warning() {
            tracing::warn!("{warning}");
        }
        match self.config.log_format {
            // Nobody may be reading stdout, and that is no reason to stop.
            LogFormat::Text => drop(io::stdout().write_all(self.text().as_bytes())),
            LogFormat::Json => tracing::info!(
                listen = %self.address,
                tls_listen = self.tls_address.map(tracing::field::display),
                data = %self.data.display(),
                node = %self.config.node_name(),
                "started"
            ),
        }
    }

    /// The lines for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "Carillon {}, node {}", env!("CARGO_PKG_VERSION"), self.config.node_name());
        let _ = writeln!(text, "  listens on   {} (WebSocket at /v1/ws)", self.address);
        if let Some(address) = self.tls_address {
            let _ = writeln!(text, "  over TLS on  {address}");
        }
        let _ = writeln!(text, "  stores in    {}", self.data.display());
        if self.development {
            let _ = writeln!(text, "  for a token  {} token --user 42{}", self.program, self.data_flag());
        }
        let _ = writeln!(text, "  open         {}", self.link());
        text
    }

    /// What another command needs to find the same data folder.
    fn data_flag(&self) -> String {
        if self.config.data == Config::default().data {
            return String::new();
        }
        format!(" --data {}", self.config.data.display())
    }

    /// What opens in a browser on this machine.
    pub fn link(&self) -> String {
        let (scheme, mut address) = match self.tls_address {
            Some(address) => ("https", address),
            None => ("http", self.address),
        };
        // Nobody can open "every address".
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        format!("{scheme}://{address}/")
    }

    /// What the operator should know, if anything.
    pub fn warning(&self) -> Option<&'static str> {
        match (self.development, self.address.ip().is_loopback()) {
            (false, _) => None,
            (true, true) => Some("no token_keys are set: tokens are signed with a development key"),
            (true, false) => Some(
                "no token_keys are set: tokens are signed with a development key, and other machines can reach \
                 this address; set token_keys before strangers do",
            ),
        }
    }
}
