//! Carillon itself: one room, its members all connected; the first is the sender.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use carillon_protocol::{EventBody, Frame, RoomId};
use rustls::ClientConfig;
use uuid::Uuid;

use super::peer::{LISTEN, Peer};
use super::side::Order;
use crate::check::{Faults, Stream};
use crate::cluster::{Cluster, ClusterConfig};
use crate::cores;
use crate::fleet::{Fleet, Place};
use crate::gateway::Gateway;
use crate::scenario::{add_members, client_id, create_room, room};
use crate::tls::Trust;
use crate::token::Signer;
use crate::worker::must_be_clean;

/// One shard; one sender is all there is, and may send as fast as it can; nobody is pinged, so that all it sends are
/// deliveries.
const FLAGS: [&str; 4] = [
    "--shards=1",
    "--requests-per-second-max=1000000000",
    "--ping-interval-ms=3600000",
    "--idle-timeout-ms=7200000",
];

/// How often another room is made because its home is not where it is to be.
const ROOMS_MAX: u64 = 40;
/// How long a gateway may take to count a room that is in use: it does so once a second.
const COUNTED_WITHIN: Duration = Duration::from_millis(1_500);

/// The gateway and the room's members.
pub(super) struct Carillon {
    nodes: Nodes,
    /// Where the sender is.
    sender: Place,
    /// Where the others are.
    place: Place,
    fleet: Fleet,
    room: RoomId,
    streams: Vec<Stream>,
    faults: Faults,
    /// How far the room is.
    seq: u64,
    sends: u64,
    text: String,
}

/// The gateways that run.
enum Nodes {
    Alone(Gateway),
    /// Two, the second of which is measured.
    Two(Cluster),
}

fn all_flags(flags: &[String]) -> Vec<String> {
    FLAGS.map(str::to_owned).into_iter().chain(flags.iter().cloned()).collect()
}

fn place_at(address: SocketAddr, tls: Option<Arc<ClientConfig>>, signer: Signer, order: &Order) -> Place {
    Place { address, others: Vec::new(), transport: order.transport, tls, signer }
}

/// Starts it, on one shard.
pub(super) fn start(program: &Path, flags: &[String], order: &Order) -> anyhow::Result<Carillon> {
    let flags = all_flags(flags);
    let gateway = cores::on_server_core(|| Gateway::start(program, order.is_tls, &flags))?;
    let tls = gateway.tls.map(Trust::config).transpose()?;
    let place = place_at(gateway.address, tls, Signer::open(&gateway.key())?, order);
    Carillon::of(Nodes::Alone(gateway), place.clone(), place, order)
}

/// Starts it as two nodes, of one shard each. The sender is on the first, everyone else on the second.
pub(super) fn start_across(
    program: &Path,
    flags: &[String],
    nats: &Path,
    order: &Order,
) -> anyhow::Result<Carillon> {
    let config = ClusterConfig {
        program: program.to_owned(),
        nats: Some(nats.to_owned()),
        gateways: 2,
        servers: 1,
        flags: all_flags(flags),
        has_ways: false,
    };
    let cluster = cores::on_server_core(|| Cluster::start(&config))?;
    let place =
        |number: usize| place_at(cluster.gateways[number].address, None, cluster.signer.clone(), order);
    let (sender, others) = (place(0), place(1));
    Carillon::of(Nodes::Two(cluster), sender, others, order)
}

impl Carillon {
    fn of(nodes: Nodes, sender: Place, place: Place, order: &Order) -> anyhow::Result<Self> {
        Ok(Self {
            nodes,
            sender,
            place,
            fleet: Fleet::new()?,
            room: room(Uuid::new_v4(), 0),
            streams: Vec::new(),
            faults: Faults::default(),
            seq: 0,
            sends: 0,
            text: "x".repeat(order.bytes),
        })
    }

    /// The sender's room; where there are two nodes, one whose home is the sender's.
    fn create(&mut self) -> anyhow::Result<u64> {
        for number in 0..ROOMS_MAX {
            self.room = room(Uuid::new_v4(), number);
            self.seq = 0;
            self.fleet.links[0].say(&create_room(1, self.room, Vec::new()));
            let last_seq = self.answered()?;
            if !self.is_home_measured()? {
                return Ok(last_seq);
            }
        }
        bail!("of {ROOMS_MAX} rooms none has its home at the first gateway")
    }

    /// Whether the node that is measured is the home of a room: then it is that of the last one that was created, since there
    /// was none before.
    fn is_home_measured(&self) -> anyhow::Result<bool> {
        let Nodes::Two(cluster) = &self.nodes else { return Ok(false) };
        std::thread::sleep(COUNTED_WITHIN);
        let gateway = Gateway::of_cluster(&[cluster.gateways[0].address], Path::new(""))?;
        let rooms = gateway.stats()?["rooms_active"].as_u64().unwrap_or(0);
        Ok(rooms == 0)
    }

    /// Waits for the sender's ack of a change of the room. Says how far the last member came meanwhile: its event may come
    /// before the ack.
    fn answered(&mut self) -> anyhow::Result<u64> {
        self.fleet.flush(0)?;
        self.seq += 1;
        let (last, mut last_seq) = (self.fleet.links.len() - 1, 0);
        self.fleet.until("the room grows", |number, _, frame| {
            last_seq = last_seq.max(seq_at(last, number, &frame));
            number == 0 && matches!(frame, Frame::Ack { .. })
        })?;
        Ok(last_seq)
    }

    /// Until the room's last addition has reached its last member, who is at `last_seq`.
    fn wait_for_last(&mut self, mut last_seq: u64) -> anyhow::Result<()> {
        let (last, seq) = (self.fleet.links.len() - 1, self.seq);
        while last_seq < seq {
            self.fleet.until("the room is complete", |number, _, frame| {
                last_seq = last_seq.max(seq_at(last, number, &frame));
                last_seq >= seq
            })?;
        }
        // What is still on its way to the others.
        for _ in 0..20 {
            self.fleet.turn(Duration::from_millis(25), |_, _, _| {})?;
        }
        Ok(())
    }
}

impl Peer for Carillon {
    fn pid(&self) -> u32 {
        match &self.nodes {
            Nodes::Alone(gateway) => gateway.pid().unwrap_or_default(),
            Nodes::Two(cluster) => cluster.gateways[1].server.pid(),
        }
    }

    fn admit(&mut self, subscribers: u64) -> anyhow::Result<()> {
        let there = self.fleet.links.len() as u64;
        let mut last_seq = 0;
        if there == 0 {
            self.fleet.open(&self.sender, 1..=1, |_, _, _| {})?;
        }
        self.fleet.open(&self.place, there.max(1) + 1..=subscribers, |_, _, _| {})?;
        if there == 0 {
            last_seq = self.create()?;
        }
        for request in add_members(self.room, there.max(1) + 1..=subscribers)? {
            self.fleet.links[0].say(&request);
            last_seq = last_seq.max(self.answered()?);
        }
        self.wait_for_last(last_seq)?;
        self.streams.resize_with(subscribers as usize, Stream::default);
        self.streams.iter_mut().for_each(|stream| stream.expect(self.room, self.seq));
        Ok(())
    }

    fn publish(&mut self, messages: u64) -> anyhow::Result<()> {
        for _ in 0..messages {
            self.sends += 1;
            let (request, client_id) = (1_000_000 + self.sends, client_id());
            let text = self.text.as_str().into();
            self.fleet.links[0].say(&Frame::Send { request, room: self.room, client_id, text });
        }
        Ok(self.fleet.flush(0)?)
    }

    fn hear(&mut self) -> anyhow::Result<u64> {
        let (streams, faults, mut came) = (&mut self.streams, &mut self.faults, 0);
        self.fleet.turn(LISTEN, |number, _, frame| {
            // Who had just connected when the room changed may hear of that late, or twice; messages are what is published.
            if let Frame::Event(event) = frame
                && matches!(event.body, EventBody::Message { .. })
            {
                streams[number].event(event.room, event.seq, faults);
                came += 1;
            }
        })?;
        must_be_clean(self.faults)?;
        if !self.fleet.lost.is_empty() {
            bail!("{} connections were lost", self.fleet.lost.len());
        }
        Ok(came)
    }
}

/// How far this member is told that the room is, by an event or, on another node than the room's home, by a ping; 0 by anything
/// else.
fn seq_at(member: usize, number: usize, frame: &Frame<'_>) -> u64 {
    match frame {
        Frame::Event(event) if number == member => event.seq,
        Frame::Ping { heads, .. } if number == member => heads.iter().map(|head| head.seq).max().unwrap_or(0),
        _ => 0,
    }
}
