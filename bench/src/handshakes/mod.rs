//! A crowd of clients that shake hands with one gateway, beside a peer that has a session already.
//!
//! ```text
//!        namespace a                                         namespace b
//!  ┌──────────────────────────────┐                   ┌─────────────────────────┐
//!  │ clients: the protocol core,  │                   │                         │
//!  │   own keys, own addresses ───┼───────────────────┼──► gateway under test   │
//!  │ a gateway, pings through it ─┼──── a session ────┼──►   with that many     │
//!  │                              │                   │      peers              │
//!  └──────────────────────────────┘                   └─────────────────────────┘
//! ```

pub mod bystander;
mod crowd;
pub mod gateway;
mod load;
pub mod operator;
mod sockets;

use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use ringfort_testbed::netns::outer_v4;
use ringfort_testbed::{Context, Error, Family, Result, Tunnel};
use ringfort_traffic::Percentiles;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::results::files::{self, HANDSHAKES, check_writable};
use crate::setup::contenders::Contender;
use crate::setup::device::{Device, sentence};
use crate::setup::{Conditions, SetUp};
use crate::text::{grouped, mebibytes, table};
use crate::traffic::numbers;
use bystander::RoundTrips;
use gateway::{Cost, Moment};
use load::{Load, Pace, Tally};
use operator::{Request, Requests};
use sockets::Sockets;

const CLIENTS_MAX: u32 = 50_000;
/// How long pings are sent before the load.
const QUIET: Duration = Duration::from_secs(2);
/// Handshakes, unless there are more clients.
const HANDSHAKES_MIN: u64 = 5_000;

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Clients, each a peer with a key of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u32,
    /// Source addresses that they share; one for each unless given. Clients of one address have a port each
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    addresses: Option<u32>,
    /// Handshakes of all clients together, in turn; one for each client, and 5,000 at least, unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    handshakes: Option<u64>,
    /// Closed loop: a handshake begins when fewer than so many are under way
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Open loop instead: so many handshakes begin in a second, whatever becomes of those before
    #[arg(long, value_name = "NUMBER", conflicts_with = "in_flight",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// What an operator asks of the gateway meanwhile, again and again
    #[arg(long, value_name = "REQUEST")]
    operator: Option<Request>,
    #[command(flatten)]
    device: Device,
    /// Write everything that was measured there, as JSON (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HandshakesPlan")]
pub struct Plan {
    /// Peers with a key each.
    pub clients: u32,
    /// Source addresses that they share.
    pub addresses: u32,
    /// Handshakes of all of them.
    pub handshakes: u64,
    /// Of a closed loop: how many are under way at any time.
    pub in_flight: Option<u32>,
    /// Of an open loop: how many begin in a second.
    pub rate_per_s: Option<u32>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Handshakes")]
pub struct Outcome {
    /// What was asked for.
    pub plan: Plan,
    /// Sessions in a second, until the last handshake began.
    pub sessions_per_s: f64,
    /// How long that took.
    pub window_s: f64,
    /// Sessions in all.
    pub sessions: u64,
    /// Handshakes that came to nothing.
    pub given_up: u64,
    /// Initiations that were sent again.
    pub repeated: u64,
    /// Cookies that were demanded.
    pub cookies: u64,
    /// Datagrams to the clients that answer nothing.
    pub foreign: u64,
    /// Datagrams of theirs that the kernel refused.
    pub refused: u64,
    /// From when a handshake was due until its response was there and had been opened; more than a minute counts as
    /// one.
    pub time_to_session_ns: Option<Percentiles>,
    /// What a handshake cost the gateway.
    pub gateway: Cost,
    /// Resident memory of the gateway in KiB: with its peers, and with the sessions of all that got one.
    pub memory_kib: [Option<u64>; 2],
    /// What a session added to it, in bytes. Memory that was free before is not in it.
    pub memory_per_session_bytes: Option<f64>,
    /// Pings of another peer before, and meanwhile.
    pub bystander: [RoundTrips; 2],
    /// What an operator asked meanwhile.
    #[serde(default)]
    pub operator: Option<Requests>,
    /// CPU time of the load in percent of one CPU, in the window.
    pub load_cpu_percent: f64,
}

impl Options {
    fn plan(&self) -> Plan {
        let (clients, rate_per_s) = (self.clients, self.rate);
        Plan {
            clients,
            addresses: self.addresses.unwrap_or(clients).min(clients),
            handshakes: self.handshakes.unwrap_or(HANDSHAKES_MIN.max(u64::from(clients))),
            in_flight: rate_per_s.is_none().then_some(self.in_flight),
            rate_per_s,
        }
    }
}

/// Carries the load and prints the tables.
///
/// # Errors
/// The gateway or the kernel refuses something.
pub fn run(options: &Options) -> Result<()> {
    check_writable(options.json.as_deref())?;
    let contender = options.device.contender()?;
    if contender.is_kernel() {
        return Err(Error::new("no process does the kernel's handshakes, so nobody could say what they cost"));
    }
    let set_up = SetUp::new(&contender, &Conditions::default())?;
    let SetUp::Gateways(tunnel) = &set_up else {
        return Err(Error::new("a cable shakes no hands: choose an implementation"));
    };
    let outcome = measure(tunnel, options.plan(), options.operator)?;
    if let Some(path) = &options.json {
        files::write(path, files::head(HANDSHAKES, contender.describe()), &outcome)?;
    }
    if options.json.as_deref() != Some("-".as_ref()) {
        print(&contender, &set_up, &outcome);
    }
    Ok(())
}

fn measure(tunnel: &Tunnel, plan: Plan, operator: Option<Request>) -> Result<Outcome> {
    let (namespace, gateway) = (tunnel.namespace(0), &tunnel.sides[1]);
    let SocketAddr::V4(endpoint) = gateway.endpoint(Family::V4) else { unreachable!("asked for one of IPv4") };
    let daemon = gateway.daemon.as_ref().expect("nobody stops it");
    let mut sockets = sockets(tunnel, &plan, endpoint)?;
    let mut clients = crowd::clients(gateway.keys.public.0, plan.clients, plan.addresses)?;
    operator.map_or(Ok(()), |request| request.prepare(&gateway.interface))?;
    crowd::introduce(&clients, &gateway.interface)?;
    let count = u64::from(plan.clients);
    for (number, client) in (0..).zip(&mut clients) {
        client.prepare(plan.handshakes / count + u64::from(number < plan.handshakes % count))?;
    }

    let target = gateway.inner(Family::V4);
    let (before, ()) = bystander::beside(namespace, target, || {
        thread::sleep(QUIET);
        Ok(())
    })?;
    let memory_before = daemon.memory_kib();
    let pace = plan.rate_per_s.map_or(Pace::InFlight(plan.in_flight.unwrap_or(1)), Pace::Rate);
    let handshakes = plan.handshakes;
    let mut load = || {
        let earlier = Moment::of(daemon)?;
        let mut later = None;
        let load = Load::new(&mut clients, &mut sockets, pace, handshakes);
        let tally = load.run(|| Moment::of(daemon).map(|moment| later = Some(moment)))?;
        Ok((tally, (earlier, later)))
    };
    let (meanwhile, (requests, (tally, moments))) = bystander::beside(namespace, target, || match operator {
        Some(request) => request.beside(&gateway.interface, load).map(|(requests, done)| (Some(requests), done)),
        None => load().map(|done| (None, done)),
    })?;
    let (earlier, Some(later)) = moments else { return Err(Error::new("the load ended before all had begun")) };
    let cost = later.cost_since(&earlier, tally.window.0.max(1));
    let outcome = outcome(plan, &tally, cost, [memory_before, daemon.memory_kib()], [before, meanwhile]);
    Ok(Outcome { operator: requests, ..outcome })
}

fn sockets(tunnel: &Tunnel, plan: &Plan, gateway: SocketAddrV4) -> Result<Sockets> {
    Sockets::route_back(tunnel.namespace(1), outer_v4(0)).context("routing to the clients")?;
    Sockets::new(tunnel.namespace(0), plan.clients, plan.addresses, gateway)
}

fn outcome(
    plan: Plan,
    tally: &Tally,
    gateway: Cost,
    memory_kib: [Option<u64>; 2],
    bystander: [RoundTrips; 2],
) -> Outcome {
    let (sessions, window) = tally.window;
    let clients = u64::from(plan.clients).min(tally.sessions);
    let memory_per_session_bytes = match memory_kib {
        [Some(before), Some(after)] if clients > 0 => Some((after as f64 - before as f64) * 1024.0 / clients as f64),
        _ => None,
    };
    Outcome {
        plan,
        sessions_per_s: sessions as f64 / window.as_secs_f64(),
        window_s: window.as_secs_f64(),
        sessions: tally.sessions,
        given_up: tally.given_up,
        repeated: tally.repeated,
        cookies: tally.cookies,
        foreign: tally.foreign,
        refused: tally.refused,
        time_to_session_ns: tally.times.summary(),
        gateway,
        memory_kib,
        memory_per_session_bytes,
        bystander,
        operator: None,
        load_cpu_percent: tally.cpu.as_secs_f64() / window.as_secs_f64() * 100.0,
    }
}

fn print(contender: &Contender, set_up: &SetUp, outcome: &Outcome) {
    println!("{}", sentence(contender, set_up));
    let Outcome { plan, gateway, .. } = outcome;
    let pace = match (plan.in_flight, plan.rate_per_s) {
        (Some(number), _) => format!("{} under way", grouped(number.into())),
        (_, rate) => format!("{} begin in a second", grouped(rate.unwrap_or(0).into())),
    };
    let what =
        format!("{} clients on {} addresses, {pace}", grouped(plan.clients.into()), grouped(plan.addresses.into()));
    let mut rows = table(&[&what, "sessions/s", "sessions", "given up", "sent again", "cookies"]);
    let counts = [outcome.sessions, outcome.given_up, outcome.repeated, outcome.cookies];
    let rate = grouped(outcome.sessions_per_s.round() as u64);
    rows.add_row(["handshakes".to_owned(), rate].into_iter().chain(counts.map(grouped)));
    println!("{rows}");

    let mut times = table(&["time", "p50", "p90", "p99", "p99.9", "longest"]);
    let [before, meanwhile] = &outcome.bystander;
    for (name, of) in [
        ("to a session", outcome.time_to_session_ns),
        ("another peer's ping, before", before.times_ns),
        ("another peer's ping, meanwhile", meanwhile.times_ns),
    ] {
        times.add_row(std::iter::once(name.to_owned()).chain(numbers::percentiles(of)));
    }
    if let Some(Requests { request, answered, times_ns }) = outcome.operator {
        let name = format!("the operator's {}, {} answered", request.name(), grouped(answered));
        times.add_row(std::iter::once(name).chain(numbers::percentiles(times_ns)));
    }
    println!("{times}");

    let mut costs = table(&["the gateway", ""]);
    costs.add_row(["CPU for a handshake".to_owned(), format!("{:.0} µs", gateway.cpu_us)]);
    for (name, time_us) in &gateway.threads_us {
        costs.add_row([format!("… of threads {name}"), format!("{time_us:.0} µs")]);
    }
    costs.add_row(["wake-ups for a handshake".to_owned(), format!("{:.1}", gateway.wakeups)]);
    costs.add_row(["memory with its peers".to_owned(), mebibytes(outcome.memory_kib[0])]);
    let per_session = outcome.memory_per_session_bytes.map_or("–".to_owned(), |bytes| format!("{bytes:.0} B"));
    costs.add_row(["… more for each session".to_owned(), per_session]);
    println!("{costs}");
    println!("The load took {:.0} % of a CPU.", outcome.load_cpu_percent);
    let lost = meanwhile.lost + before.lost;
    if lost + outcome.refused + outcome.foreign > 0 {
        println!(
            "{} pings had no answer, {} datagrams of clients were not taken, {} to them answered nothing.",
            grouped(lost),
            grouped(outcome.refused),
            grouped(outcome.foreign)
        );
    }
}
