//! What can be driven: a file a scenario.

pub mod broadcast;
pub mod capacity;
pub mod chat;
pub mod connect;
pub mod echo;
pub mod fanout;
pub mod faults;
pub mod hold;
pub mod idle;
pub mod kills;
pub mod peers;
pub mod sends;
pub mod slow;
pub mod soak;
pub mod storm;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, bail};
use carillon_protocol::{ClientId, Frame, RoomId, UserId};
use clap::Args;
use uuid::Uuid;

use crate::fleet::Place;
use crate::gateway::Gateway;
use crate::link::Transport;
use crate::tls::Trust;
use crate::token::Signer;

/// Users added in one request.
const MEMBERS_PER_REQUEST: u64 = 1_000;

/// Which gateway.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Start this program (carillon) for the run, on a free port and in a temporary folder
    #[arg(long, value_name = "PROGRAM", conflicts_with = "address")]
    pub start: Option<PathBuf>,
    /// Drive the gateway that listens there
    #[arg(long, value_name = "ADDR:PORT", requires = "data")]
    pub address: Option<SocketAddr>,
    /// Its data folder, where its development key is
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A flag for the gateway that is started, such as --flag=--shards=1; may be repeated
    #[arg(long = "flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub flags: Vec<String>,
    /// How clients talk
    #[arg(long, value_enum, default_value = "ws")]
    pub transport: Transport,
    /// Talk over TLS (wss, or raw): to a gateway that is started here, with a certificate made for the run, or to one that
    /// shows the certificate in this file (PEM)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub tls: Option<Option<PathBuf>>,
    /// Talk over TLS to whoever answers, whatever certificate it shows
    #[arg(long, conflicts_with = "tls")]
    pub tls_any: bool,
}

/// A gateway that the scenario starts itself: on its core, several times, or several of them.
#[derive(Args, Clone, Debug)]
pub struct Started {
    /// The gateway's program (carillon), started for the run, on a free port and in a temporary folder
    #[arg(long, value_name = "PROGRAM")]
    pub start: PathBuf,
    /// A flag for it, such as --flag=--shards=1; may be repeated
    #[arg(long = "flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub flags: Vec<String>,
    /// How clients talk
    #[arg(long, value_enum, default_value = "ws")]
    pub transport: Transport,
    /// Talk over TLS (wss, or raw), with a certificate made for the run
    #[arg(long)]
    pub tls: bool,
}

impl Started {
    /// The same for a scenario that could also drive one that runs.
    pub fn target(&self) -> Target {
        let Self { start, flags, transport, tls } = self.clone();
        let (address, data, tls) = (None, None, tls.then_some(None));
        Target { start: Some(start), address, data, flags, transport, tls, tls_any: false }
    }
}

impl Target {
    /// Starts the gateway, or finds it.
    pub fn gateway(&self) -> anyhow::Result<Gateway> {
        self.gateway_with(&[])
    }

    /// The same, with flags that the scenario needs.
    pub fn gateway_with(&self, flags: &[&str]) -> anyhow::Result<Gateway> {
        match (&self.start, self.address, &self.data) {
            (Some(program), ..) => {
                let all = flags.iter().map(|flag| (*flag).to_owned()).chain(self.flags.iter().cloned());
                Gateway::start(program, self.is_tls(), &all.collect::<Vec<_>>())
            }
            (None, Some(address), Some(data)) => Ok(Gateway::running(address, self.trust()?, data)),
            _ => bail!("say which gateway: --start target/release/carillon, or --address and --data"),
        }
    }

    /// Whether clients talk over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some() || self.tls_any
    }

    /// Which certificate a gateway that runs already must show.
    fn trust(&self) -> anyhow::Result<Option<Trust>> {
        match &self.tls {
            None => Ok(self.tls_any.then_some(Trust::Any)),
            Some(Some(path)) => Trust::read(path).map(Some),
            Some(None) => bail!("say whom to trust: --tls=cert.pem, or --tls-any"),
        }
    }

    /// Where its clients go.
    pub fn place(&self, gateway: &Gateway) -> anyhow::Result<Place> {
        let signer = Signer::open(&gateway.key())?;
        let tls = gateway.tls.map(Trust::config).transpose()?;
        Ok(Place {
            address: gateway.address,
            others: gateway.others.clone(),
            transport: self.transport,
            tls,
            signer,
        })
    }
}

/// The user of that number; users are numbered from 1.
pub fn user(number: u64) -> anyhow::Result<UserId> {
    UserId::new(number).context("a user's number is out of range")
}

/// A room, named by the run and its number: so that processes agree on it without talking.
pub fn room(run: Uuid, number: u64) -> RoomId {
    let mixed = run.as_u128() ^ (u128::from(number) << 1 | 1);
    RoomId::from(uuid::Builder::from_random_bytes(mixed.to_be_bytes()).into_uuid())
}

/// A new client id.
pub fn client_id() -> ClientId {
    ClientId::from(Uuid::new_v4())
}

/// Requests that add these users to a room, each with as many as it may have.
pub fn add_members(room: RoomId, users: RangeInclusive<u64>) -> anyhow::Result<Vec<Frame<'static>>> {
    let last = *users.end();
    let request = |first: u64| {
        let members =
            (first..=last.min(first + MEMBERS_PER_REQUEST - 1)).map(user).collect::<Result<_, _>>()?;
        Ok(Frame::AddMembers { request: first, room, members })
    };
    users.step_by(MEMBERS_PER_REQUEST as usize).map(request).collect()
}

/// A `create_room`.
pub fn create_room(request: u64, room: RoomId, members: Vec<UserId>) -> Frame<'static> {
    Frame::CreateRoom { request, room, name: "load".into(), members }
}
