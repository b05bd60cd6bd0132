//! Three gateways with one key behind one address, and a crowd of clients while the router changes its mind and a
//! gateway dies.
//!
//! ```text
//!                                     ┌─ [veth0] 10.210.0.10 ─ node 0 ┐
//!   clients ─── router ─── bridge ────┼─ [veth0] 10.210.0.11 ─ node 1 ├─ all: 192.0.2.1, and 10.96.0.1 in the tunnel
//!   10.200.0.2   ECMP                 └─ [veth0] 10.210.0.12 ─ node 2 ┘
//! ```
//!
//! Each client has a key and a port of its own, and sends echo requests through its session. The router spreads flows
//! by addresses and ports. Rules of `ringfort steer` are on each node.

mod client;
mod load;
mod network;
mod tally;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ringfort_testbed::{Error, Family, Result};

use crate::Gateway;
use crate::text::{Times, duration, grouped, table};
use load::Crowd;
use network::{BITS, NODES, Network, Steer, endpoint};
use tally::Tally;

/// The node that the router leaves out for a while, and the one that dies.
const LEFT_OUT: u8 = 2;
const DEAD: u8 = 1;

/// Clients that a router is sure to lead to each of the nodes, and that inner addresses have room for.
const CLIENTS: std::ops::RangeInclusive<i64> = 24..=20_000;

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Clients, each a peer with a key and a port of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(CLIENTS))]
    clients: u16,
    /// Echo requests of each client in each step
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    requests: u32,
    /// Milliseconds from one request of a client to its next
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    interval: u64,
    /// Seconds within which clients of a node that dies must be back, from when router and nodes know
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    back_within: u64,
    /// Which protocol carries the datagrams of the clients
    #[arg(long, value_enum, default_value_t = Outer::V4)]
    outer: Outer,
    /// What passes datagrams on: rules of nftables, or a program of XDP with the rules behind it
    #[arg(long, value_enum, default_value_t = Steer::Nft)]
    steer: Steer,
    #[command(flatten)]
    gateway: Gateway,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Outer {
    V4,
    V6,
}

/// A step, and what came of it.
struct Step {
    name: &'static str,
    tallies: Vec<Tally>,
    passed_on: u64,
    /// By rules. What these have done before they were loaded anew is not in it.
    by_rules: u64,
    strays: u64,
    /// When the last request was sent.
    end: Instant,
}

impl Step {
    fn sent(&self) -> u64 {
        self.tallies.iter().map(Tally::requests).sum()
    }

    fn lost(&self) -> u64 {
        self.lost_of(|_| true)
    }

    fn lost_of(&self, is_meant: impl Fn(usize) -> bool) -> u64 {
        self.tallies.iter().enumerate().filter(|&(client, _)| is_meant(client)).map(|(_, tally)| tally.lost()).sum()
    }

    /// How long each client was without service that lost something.
    fn outages(&self) -> Vec<Duration> {
        self.tallies.iter().filter_map(|tally| tally.outage_max(self.end)).collect()
    }

    fn row(&self) -> [String; 7] {
        let outages = self.outages();
        let longest = outages.iter().max().map_or("–".to_owned(), |&longest| duration(longest));
        let [sent, lost, clients, passed_on, strays] =
            [self.sent(), self.lost(), outages.len() as u64, self.passed_on, self.strays].map(grouped);
        [self.name.to_owned(), sent, lost, clients, longest, passed_on, strays]
    }
}

/// The run.
struct Run<'a> {
    options: &'a Options,
    network: Network,
    crowd: Crowd,
    steps: Vec<Step>,
}

/// Runs all steps and prints the tables.
///
/// # Errors
/// Something was lost that need not be, or the kernel or a gateway refuses.
pub fn run(options: &Options) -> Result<()> {
    let family = match options.outer {
        Outer::V4 => Family::V4,
        Outer::V6 => Family::V6,
    };
    let program = options.gateway.program()?;
    println!(
        "{NODES} gateways ({}) with one key and one address behind a router, {} clients, an echo request in {} ms each",
        program.path.display(),
        grouped(options.clients.into()),
        options.interval
    );
    let network = Network::new(&program, family, options.steer)?;
    let mut crowd = Crowd::new(&network.clients, options.clients, network.public(), endpoint(family))?;
    network.introduce(&crowd.clients)?;
    crowd.connect()?;
    let mut run = Run { options, network, crowd, steps: Vec::new() };
    let owners = run.owners()?;
    let count = |node| grouped(owners.iter().filter(|&&owner| owner == node).count() as u64);
    println!("  sessions     {} on node 0, {} on node 1, {} on node 2", count(0), count(1), count(2));
    run.router_changes()?;
    let death = run.node_dies(&owners)?;
    run.node_is_back()?;
    run.print();
    death.print();
    run.verdict(&owners, &death)
}

/// What the death of a node did to its clients.
struct Death {
    /// Clients that it had.
    clients: usize,
    /// From the end of what the operator does to the first request that had an answer, of each that is back.
    back: Vec<Duration>,
    /// How long that took him.
    reaction: Duration,
    /// How many requests each of them lost.
    lost: Vec<u64>,
    /// And for how long.
    outages: Vec<Duration>,
}

impl Run<'_> {
    /// The node of each client's session.
    fn owners(&self) -> Result<Vec<u8>> {
        let node = |client: &client::Client| client.remote_index().map(|index| (index >> (32 - BITS)) as u8);
        let owners: Option<Vec<u8>> = self.crowd.clients.iter().map(node).collect();
        let owners = owners.ok_or_else(|| Error::new("a client has no session"))?;
        if (0..NODES).all(|node| owners.contains(&node)) {
            return Ok(owners);
        }
        Err(Error::new("the router leads no client to one of the nodes: try more clients"))
    }

    /// Sends, and changes something in the midst of it.
    fn step(&mut self, name: &'static str, change: impl FnOnce(&mut Network) -> Result<()> + Send) -> Result<Instant> {
        let before = self.network.counts()?;
        let interval = Duration::from_millis(self.options.interval);
        let network = &mut self.network;
        let (tallies, done) = self.crowd.carry(self.options.requests, interval, move || change(network))?;
        let end = tallies.iter().filter_map(Tally::last).max().unwrap_or(done);
        let (mut passed_on, mut by_rules, mut strays) = (0, 0, 0);
        for (before, after) in before.into_iter().zip(self.network.counts()?) {
            let (Some(before), Some(after)) = (before, after) else { continue };
            passed_on += after.arrived - before.arrived;
            by_rules += after.by_rules.checked_sub(before.by_rules).unwrap_or(after.by_rules);
            strays += after.strays - before.strays;
        }
        self.steps.push(Step { name, tallies, passed_on, by_rules, strays, end });
        Ok(done)
    }

    fn router_changes(&mut self) -> Result<()> {
        let all: Vec<u8> = (0..NODES).collect();
        let some: Vec<u8> = all.iter().copied().filter(|&node| node != LEFT_OUT).collect();
        self.step("nothing changes", |_| Ok(()))?;
        self.step("node 2 left out", |network| network.lead_to(&some))?;
        self.step("node 2 back in", |network| network.lead_to(&all))?;
        self.network.without_rules()?;
        self.step("the same, no rules", |network| network.lead_to(&some))?;
        self.network.lead_to(&all)?;
        self.network.steer(&all)
    }

    fn node_dies(&mut self, owners: &[u8]) -> Result<Death> {
        self.network.locate(&self.crowd.clients)?;
        let rest: Vec<u8> = (0..NODES).filter(|&node| node != DEAD).collect();
        let mut died = None;
        let done = self.step("node 1 dies", |network| {
            network.take_away(DEAD)?;
            died = Some(Instant::now());
            network.lead_to(&rest)?;
            network.steer(&rest)?;
            network.recover(&rest)
        })?;
        let Some(Step { tallies, end, .. }) = self.steps.last() else { return Err(Error::new("no step was taken")) };
        let of_dead = tallies.iter().zip(owners).filter(|&(_, &owner)| owner == DEAD);
        let back = of_dead.clone().filter_map(|(tally, _)| tally.first_since(done)).map(|first| first - done).collect();
        let reaction = died.map_or(Duration::ZERO, |died| done - died);
        let lost = of_dead.clone().map(|(tally, _)| tally.lost()).collect();
        let outages = of_dead.clone().filter_map(|(tally, _)| tally.outage_max(*end)).collect();
        Ok(Death { clients: of_dead.count(), back, reaction, lost, outages })
    }

    /// A gateway comes into the router's group that has no session at all.
    fn node_is_back(&mut self) -> Result<()> {
        let all: Vec<u8> = (0..NODES).collect();
        self.network.bring_back(DEAD, &self.crowd.clients)?;
        self.network.steer(&all)?;
        self.step("node 1 returns", |network| network.lead_to(&all)).map(drop)
    }

    fn print(&self) {
        let columns = ["step", "sent", "lost", "clients", "longest", "passed on", "other_node"];
        let mut rows = table(&columns);
        for step in &self.steps {
            rows.add_row(step.row());
        }
        println!("{rows}");
        println!("Lost: how many requests, of how many clients, and how long one of them was without service.");
    }

    /// What must hold: each step loses nothing, except without rules, and what the dead node had.
    fn verdict(&self, owners: &[u8], death: &Death) -> Result<()> {
        let [quiet, left_out, back, without, dies, again] = &self.steps[..] else {
            return Err(Error::new("a step is missing"));
        };
        let right = [quiet, left_out, back, again].map(Step::lost).into_iter().sum::<u64>();
        let lost = right + dies.lost_of(|client| owners[client] != DEAD);
        if lost > 0 {
            return Err(Error::new(format!("{lost} requests had no answer, beside those of node {DEAD}'s clients")));
        }
        let passed_on = [left_out, again].iter().all(|step| step.passed_on > 0);
        if !passed_on || without.lost() == 0 || without.strays == 0 {
            return Err(Error::new("the router moved no flow, so nothing was shown"));
        }
        if self.options.steer == Steer::Xdp && left_out.by_rules >= left_out.passed_on {
            return Err(Error::new("the program left everything to the rules"));
        }
        let within = Duration::from_secs(self.options.back_within);
        let in_time = death.back.iter().filter(|&&time| time <= within).count();
        if in_time < death.clients {
            let (clients, within) = (death.clients, duration(within));
            return Err(Error::new(format!("of {clients} clients of node {DEAD}, {in_time} are back within {within}")));
        }
        Ok(())
    }
}

impl Death {
    fn print(&self) {
        let times = Times::of(&self.back);
        println!(
            "Of {} clients of node {DEAD}, {} are back: half of them {} after the others know, all of them {}. To tell \
             router and nodes took {}.",
            grouped(self.clients as u64),
            grouped(self.back.len() as u64),
            times.percentile(50.0),
            times.percentile(100.0),
            duration(self.reaction)
        );
        let (outages, most) = (Times::of(&self.outages), self.lost.iter().max().copied().unwrap_or_default());
        println!(
            "Each of them lost {} to {} requests, half of them in {}, all of them in {}.",
            grouped(self.lost.iter().min().copied().unwrap_or_default()),
            grouped(most),
            outages.percentile(50.0),
            outages.percentile(100.0)
        );
    }
}
