//! What is done to the cluster: by chance, from a seed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use carillon_devservers::way::Way;
use clap::ValueEnum;

use crate::cluster::Cluster;
use crate::dice::Dice;

/// How long gateways may take to serve again once everything is mended.
const MENDED_WITHIN: Duration = Duration::from_secs(120);

/// What can be done to a party.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// `kill -9` of a gateway, which starts again.
    GatewayKilled,
    /// `kill -9` of a NATS server, which starts again on its data.
    NatsKilled,
    /// SIGSTOP of a gateway for longer than the others count on it, sometimes for longer than any time-out; SIGCONT.
    GatewayFrozen,
    /// SIGSTOP of a NATS server.
    NatsFrozen,
    /// Nothing passes between a gateway and one NATS server, or all of them.
    CutOff,
    /// Nothing passes between a NATS server and another, or all others.
    ServersCut,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::GatewayKilled,
        Self::NatsKilled,
        Self::GatewayFrozen,
        Self::NatsFrozen,
        Self::CutOff,
        Self::ServersCut,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::GatewayKilled => "a gateway killed",
            Self::NatsKilled => "a NATS server killed",
            Self::GatewayFrozen => "a gateway frozen",
            Self::NatsFrozen => "a NATS server frozen",
            Self::CutOff => "a gateway cut off from NATS",
            Self::ServersCut => "NATS servers cut off from each other",
        }
    }

    fn is_of_a_gateway(self) -> bool {
        !matches!(self, Self::NatsKilled | Self::NatsFrozen | Self::ServersCut)
    }

    /// Whether ways between parties are needed for it.
    pub(super) fn cuts(self) -> bool {
        matches!(self, Self::CutOff | Self::ServersCut)
    }

    /// For how long, in milliseconds.
    fn lasts_ms(self, dice: &mut Dice) -> u64 {
        match self {
            Self::GatewayKilled | Self::NatsKilled => 100 + dice.below(4_000),
            // The others count on a node for two seconds, and nothing waits longer than ten.
            Self::GatewayFrozen if dice.below(4) == 0 => 11_000 + dice.below(2_000),
            Self::GatewayFrozen => 2_500 + dice.below(2_500),
            Self::NatsFrozen | Self::CutOff | Self::ServersCut => 500 + dice.below(7_000),
        }
    }
}

/// One or two faults at a time, and when they were.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) kinds: Vec<Kind>,
    pub(super) began: Instant,
}

struct Fault {
    kind: Kind,
    /// The party's number.
    party: usize,
    /// The one NATS server that it does not reach; all where there is none.
    server: Option<usize>,
    begins_ms: u64,
    ends_ms: u64,
}

/// Does so many things to the cluster, each round after the one before is mended; ends early when time is over.
pub(super) fn run(
    cluster: &mut Cluster,
    dice: &mut Dice,
    faults: u64,
    kinds: &[Kind],
    until: Option<Instant>,
) -> anyhow::Result<Vec<Round>> {
    let kinds = if kinds.is_empty() { &Kind::ALL[..] } else { kinds };
    let servers = cluster.nats.urls().len();
    let kinds: Vec<Kind> =
        kinds.iter().copied().filter(|&it| it != Kind::ServersCut || servers > 1).collect();
    ensure!(!kinds.is_empty(), "one NATS server cannot be cut off from others");
    let (mut rounds, mut count) = (Vec::new(), 0);
    thread::sleep(Duration::from_secs(1));
    while count < faults && until.is_none_or(|until| Instant::now() < until) {
        let at_once = if faults - count > 1 && dice.below(3) == 0 { 2 } else { 1 };
        let round = draw(cluster, dice, &kinds, at_once);
        count += round.len() as u64;
        let began = Instant::now();
        play(cluster, &round)?;
        mend(cluster)?;
        let kinds: Vec<_> = round.iter().map(|fault| fault.kind).collect();
        let words: Vec<_> =
            round.iter().map(|fault| format!("{} ({})", fault.kind.words(), fault.party + 1)).collect();
        eprintln!("{count} of {faults}: {}, {:.1} s", words.join(", "), began.elapsed().as_secs_f64());
        rounds.push(Round { kinds, began });
        thread::sleep(Duration::from_millis(300 + dice.below(1_700)));
    }
    Ok(rounds)
}

/// Faults of different parties.
fn draw(cluster: &Cluster, dice: &mut Dice, kinds: &[Kind], at_once: usize) -> Vec<Fault> {
    let (gateways, servers) = (cluster.gateways.len() as u64, cluster.nats.urls().len() as u64);
    let mut round: Vec<Fault> = Vec::new();
    while round.len() < at_once {
        let kind = kinds[dice.below(kinds.len() as u64) as usize];
        let party = dice.below(if kind.is_of_a_gateway() { gateways } else { servers }) as usize;
        let server = (dice.below(2) == 0).then(|| dice.below(servers) as usize);
        let begins_ms = round.len() as u64 * dice.below(1_500);
        let ends_ms = begins_ms + kind.lasts_ms(dice);
        let is_other =
            |before: &Fault| before.kind.is_of_a_gateway() != kind.is_of_a_gateway() || before.party != party;
        // Of one or two parties there may be no other.
        if round.iter().all(is_other) || dice.below(20) == 0 {
            if !round.iter().all(is_other) {
                break;
            }
            round.push(Fault { kind, party, server, begins_ms, ends_ms });
        }
    }
    round
}

fn play(cluster: &mut Cluster, round: &[Fault]) -> anyhow::Result<()> {
    let began = Instant::now();
    let begins = round.iter().map(|fault| (fault.begins_ms, true, fault));
    let ends = round.iter().map(|fault| (fault.ends_ms, false, fault));
    let mut steps: Vec<_> = begins.chain(ends).collect();
    steps.sort_by_key(|(at_ms, ..)| *at_ms);
    for (at_ms, is_begin, fault) in steps {
        thread::sleep((began + Duration::from_millis(at_ms)).saturating_duration_since(Instant::now()));
        if is_begin { fault.begin(cluster)? } else { fault.end(cluster)? }
    }
    Ok(())
}

/// Waits until every party is there again.
fn mend(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.nats.wait_until_ready()?;
    let deadline = Instant::now() + MENDED_WITHIN;
    (0..cluster.gateways.len()).try_for_each(|number| cluster.wait_until_it_serves(number, deadline))
}

impl Fault {
    fn begin(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        match self.kind {
            Kind::GatewayKilled => cluster.gateways[self.party].server.kill(),
            Kind::NatsKilled => cluster.nats.servers()[self.party].kill(),
            Kind::GatewayFrozen => cluster.gateways[self.party].server.pause(),
            Kind::NatsFrozen => cluster.nats.servers()[self.party].pause(),
            Kind::CutOff | Kind::ServersCut => {
                self.ways(cluster).for_each(Way::cut);
                Ok(())
            }
        }
    }

    fn end(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        match self.kind {
            Kind::GatewayKilled => cluster.gateways[self.party].server.restart(),
            Kind::NatsKilled => cluster.nats.servers()[self.party].restart(),
            Kind::GatewayFrozen => cluster.gateways[self.party].server.resume(),
            Kind::NatsFrozen => cluster.nats.servers()[self.party].resume(),
            Kind::CutOff | Kind::ServersCut => {
                self.ways(cluster).for_each(Way::mend);
                Ok(())
            }
        }
    }

    fn ways<'a>(&self, cluster: &'a Cluster) -> Box<dyn Iterator<Item = &'a Way> + 'a> {
        let server = self.server;
        if self.kind == Kind::ServersCut {
            return Box::new(cluster.nats.ways(self.party, server.filter(|&server| server != self.party)));
        }
        let ways = cluster.gateways[self.party].ways.iter().enumerate();
        let is_cut = move |number: usize| server.is_none_or(|server| server == number);
        Box::new(ways.filter(move |(number, _)| is_cut(*number)).map(|(_, way)| way))
    }
}
