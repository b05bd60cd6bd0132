//! A pair of gateways behind one address, with real keepalived and the files of `examples/pair`: what its clients lose
//! when a cable is pulled, the process is killed, the whole machine is gone, and when both machines serve at a time.

mod address;
mod clients;
mod events;
mod flow;
mod machine;
mod network;
mod place;
mod roles;
mod show;
mod ssh;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use ringfort_testbed::daemon::{find_in_path, peers_directory};
use ringfort_testbed::{Context, Error, KeyPair, Result};

use crate::{Gateway, interrupt};
use clients::{Client, Kind};
use events::Stage;
use flow::Clock;
use machine::{Machine, Pair};
use network::Network;
use place::Place;
use ssh::Ssh;

/// How long anything may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Milliseconds between two datagrams of a client: an outage is measured to so much
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    interval: u64,
    /// How often promotion and demotion themselves are timed; a round takes some 6 s
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    rounds: u32,
    /// Seconds for which both machines serve
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    masters: u64,
    /// A short run with clients of one kind. It fails unless every client comes back, and one machine serves in the end
    #[arg(long)]
    check: bool,
    /// Print JSON in place of tables
    #[arg(long)]
    json: bool,
    /// The directory of the example
    #[arg(long, value_name = "PATH", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/pair"))]
    example: PathBuf,
    #[command(flatten)]
    gateway: Gateway,
}

/// Runs it from the namespaces to the table.
///
/// # Errors
/// Something cannot be made, or does not come back.
pub fn run(options: &Options) -> Result<()> {
    let keepalived = find_in_path(Path::new("keepalived"), &peers_directory().join("bin"));
    let missing = "there is no keepalived: apt-get install keepalived, which runs nothing until it is configured";
    let keepalived = keepalived.ok_or_else(|| Error::new(missing))?;
    let example = options.example.canonicalize().context(options.example.display())?;
    let program = options.gateway.program()?;
    let (mut kinds, missing) = clients::kinds(&program);
    if options.check {
        kinds.truncate(1);
    } else if !missing.is_empty() {
        eprintln!("not installed, and left out: {} (ringfort-bench fetch-peers)", missing.join(", "));
    }
    let place = Place::new(&example, &program)?;
    let network = Network::new()?;
    let machines = [0, 1].map(|number| Machine::new(number, &program, &network, &place));
    let [first, second] = machines;
    let machines = [first?, second?];
    let ssh = Ssh::set_up(&place, machines.each_ref().map(Machine::interface))?;
    if !ssh.is_there() {
        eprintln!("there is no sshd: endpoints are copied without a network (scripts/install-test-peers unpacks one)");
    }
    let clients = start_clients(&kinds, &network)?;
    let peers = clients.iter().map(Client::peer_lines).collect();
    let pair = Pair { keys: KeyPair::random()?, peers, peer_count: clients.len() };
    clients.iter().try_for_each(|client| client.configure(&pair.keys))?;
    let mut stage = Stage { clock: Clock::new(), network, machines, pair, place, ssh, keepalived };
    let outcome = perform(options, &mut stage, &clients);
    if outcome.is_err() {
        stage.machines.iter().for_each(|machine| eprintln!("{}", machine.logs()));
    }
    outcome
}

fn perform(options: &Options, stage: &mut Stage, clients: &[Client]) -> Result<()> {
    let interval = Duration::from_millis(options.interval);
    stage.install()?;
    let rounds = if options.check { options.rounds.min(1) } else { options.rounds };
    let roles = roles::measure(stage, &clients[0], rounds)?;
    stage.begin()?;
    let flows = clients.iter().map(|client| client.flow(stage.clock, interval, &stage.network));
    let flows = flows.collect::<Result<Vec<_>>>()?;
    let masters = if options.check { Duration::from_secs(2) } else { Duration::from_secs(options.masters) };
    let events = events::all(stage, &flows, masters)?;
    interrupt::check()?;
    let report = show::Report::new(options.interval, clients, &roles, events, stage.ssh.is_there());
    report.print(options.json)?;
    if options.check { report.check() } else { Ok(()) }
}

/// Of each kind one that sends, and one that only receives.
fn start_clients(kinds: &[Kind], network: &Network) -> Result<Vec<Client>> {
    let all = kinds.iter().flat_map(|kind| [(kind, true), (kind, false)]).enumerate();
    all.map(|(number, (kind, sends))| Client::start(number, kind, sends, network)).collect()
}

/// Waits until something is so.
fn wait(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(Error::new(format!("in vain, for {PATIENCE:?}: {what}")));
        }
        sleep(POLL);
    }
    Ok(())
}
