//! A whole gateway: the real control core, the real data paths, and between them threads that run only when the seed
//! says.
//!
//! ```text
//!   network ─► socket ─┐                                        ┌─► in flight ─► network
//!                      ├─► worker: DataPath ── poll_… ──────────┼─► TUN: packets are checked
//!   users ──► TUN ─────┘      ▲                                 ├─► other workers
//!                             │ mailboxes                       └─► queues of control
//!                             └───────────── control: Device, Dispatch ◄──────┘
//! ```
//!
//! What a thread does in one turn, and in which order, is what those of the daemon do.
//!
//! Import circle: `books`, `errors`, `returns`, `worker`. A worker keeps the other three from turn to turn, and each is
//! checked against what the rest of the worker has: they are parts of its state, with checks in files of their own.

mod books;
mod config;
mod congestion;
mod control;
mod errors;
mod hand_over;
mod happenings;
mod kernel;
mod onlooker;
mod outputs;
mod returns;
mod turn;
mod worker;

pub use config::inner_address;
pub use worker::TunRead;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringfort_aead::{Plan, Provider};
use ringfort_core::device::{Device, MemoryCursor, Remembered};
use ringfort_core::ids::{PeerId, owner};
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::{Now, Time};
use ringfort_core::wire::parse_data_header;
use ringfort_path::{Dispatch, Order};

use crate::network::Wire;
use crate::outside::{Outside, What};
use crate::rng::Rng;
use crate::scenario::{Disturbance, Scenario, Site};
use crate::trace::{Step, Who};
use config::Configuration;
use control::Control;
use worker::Worker;

/// The wall clock of all gateways when the virtual clock is at zero, in seconds since 1970.
const WALL_START: u64 = 1_800_000_000;
/// Bytes that wait in a socket.
const SOCKET_BYTES: usize = 16 << 20;
/// Reads that wait in a queue of a TUN device.
const TUN_READS: usize = 500;
const SECOND: u64 = 1_000_000_000;

/// One gateway.
pub struct Gateway {
    index: usize,
    site: Site,
    /// How much its clocks are ahead of the virtual one: time since its machine was started, and the clock on the wall.
    boot_ahead_secs: u64,
    wall_ahead_secs: i64,
    device: Device,
    /// The name that its indices begin with. It changes when another process goes on.
    node: Node,
    dispatch: Dispatch,
    /// What its keys and indices are made from.
    rng: Rng,
    config: Configuration,
    /// What a process leaves to the next.
    memory: Vec<Remembered>,
    /// Whom each name stood for that a peer ever had in this life.
    names: BTreeMap<PeerId, usize>,
    control: Control,
    workers: Vec<Worker>,
    nesting: Arc<Nesting>,
    stops: Stops,
    /// Of our own datagrams that came back, those that were not known.
    went_round: u64,
    /// What the initiations begin with that it has answered. A new process does not know them.
    answered: BTreeSet<[u8; 32]>,
    /// The gateway in whose tunnel its own tunnel runs.
    carrier: Option<usize>,
    /// Tunnels run in its own.
    carries: bool,
    /// Until then sessions begin with a counter near a limit, if the scenario has it.
    worn_until: Time,
    /// The receiving halves that control has made, and not ended.
    receives: BTreeSet<u32>,
    strangers: Strangers,
    /// Its workers read nothing more: another process does.
    leaving: bool,
}

/// Data under indices that never were its own.
#[derive(Debug, Default)]
struct Strangers {
    /// The indices of all sessions that it ever had.
    named: BTreeSet<u32>,
    /// Datagrams that came to its sockets, and those of them that one worker gave another.
    seen: u64,
    handed: u64,
}

/// Until when something does not work.
#[derive(Clone, Debug, Default)]
struct Stops {
    control: Time,
    socket: Time,
    tun: Time,
    sends: Time,
    events: Time,
    queues: Time,
    supers: Time,
    writes: Time,
    /// Datagrams for this peer come back into the TUN device.
    looped: Option<usize>,
}

impl Stops {
    /// Something does not work until then.
    const fn begin(&mut self, what: Disturbance, until: Time) {
        let place = match what {
            Disturbance::StopControl { .. } => &mut self.control,
            Disturbance::StopSocket { .. } => &mut self.socket,
            Disturbance::StopTun { .. } => &mut self.tun,
            Disturbance::RefuseSupers { .. } => &mut self.supers,
            Disturbance::RefuseSends { .. } => &mut self.sends,
            Disturbance::RefuseWrites { .. } => &mut self.writes,
            Disturbance::FullEvents { .. } => &mut self.events,
            Disturbance::FullQueues { .. } => &mut self.queues,
            _ => return,
        };
        *place = until;
    }
}

impl Gateway {
    /// A gateway of a scenario, with its configuration set and its link up.
    #[must_use]
    pub fn new(index: usize, scenario: &Scenario, out: &mut Outside) -> Self {
        let site = scenario.gateways[index].clone();
        let mut rng = Rng::new(scenario.seed, 100 + index as u64);
        let config = Configuration::new(index, scenario, &out.network);
        let mut gateway = Self {
            index,
            boot_ahead_secs: rng.below(1 << 30),
            wall_ahead_secs: 0,
            device: Device::new(site.workers as u8),
            node: node_of(index),
            dispatch: Dispatch::new(plan(&site), site.workers),
            rng,
            config,
            memory: Vec::new(),
            names: BTreeMap::new(),
            control: Control::default(),
            workers: Vec::new(),
            nesting: Arc::new(Nesting::new()),
            stops: Stops::default(),
            went_round: 0,
            answered: BTreeSet::new(),
            carrier: scenario.carrier(index),
            carries: scenario.nested && index < 2,
            worn_until: scenario.in_order() + scenario.wearing,
            receives: BTreeSet::new(),
            strangers: Strangers::default(),
            leaving: false,
            site,
        };
        gateway.start(out);
        gateway
    }

    /// Its own clocks.
    fn now(&self, now: Time) -> Now {
        let nanos = now.as_nanos();
        let wall = (WALL_START + nanos / SECOND).saturating_add_signed(self.wall_ahead_secs);
        let mono = Time(nanos + self.boot_ahead_secs * SECOND);
        Now { mono, wall: Tai64N::from_unix(wall, (nanos % SECOND) as u32) }
    }

    /// A time of its own clock on the virtual one.
    const fn outside(&self, own: Time) -> Time {
        Time(own.as_nanos().saturating_sub(self.boot_ahead_secs * SECOND))
    }

    /// A process begins, and knows its configuration.
    fn start(&mut self, out: &mut Outside) {
        self.device = Device::new(self.site.workers as u8);
        self.device.set_node(self.now(out.now).mono, self.node);
        self.dispatch = Dispatch::new(plan(&self.site), self.site.workers);
        self.names.clear();
        self.receives.clear();
        self.answered.clear();
        self.control = Control::default();
        self.nesting = Arc::new(Nesting::new());
        self.workers =
            (0..self.site.workers).map(|n| Worker::new(n, &self.site, self.node, self.nesting.clone())).collect();
        self.configure(out);
        self.begin_to_look(out);
        // The link comes up last: who reads its first packet has been told of peers and routes.
        while let Some(action) = self.device.poll_action() {
            self.apply(action, out);
        }
        self.wake_control(out);
    }

    /// It ends without a word, and begins anew. It has a file of where its peers were.
    fn restart(&mut self, out: &mut Outside) {
        let result = self.check_books();
        out.check(result);
        let (unix_secs, mut cursor) = (WALL_START + out.now.as_nanos() / SECOND, MemoryCursor::default());
        while self.device.memory_page(&mut cursor, 2, unix_secs, &mut self.memory) {}
        self.start(out);
    }

    /// Datagrams reach one of its addresses.
    pub fn arrive(&mut self, wire: Wire, out: &mut Outside) {
        if !self.device.is_up() {
            return out.note(Who::World, Step::Lost { why: "nobody listens" });
        }
        let count = self.workers.len();
        let steered = match parse_data_header(&wire.bytes) {
            Ok(header) => owner(header.receiver, count),
            Err(_) => usize::from(wire.from.port()) % count,
        };
        let index = wire.stray.map_or(steered, |worker| worker % count);
        let worker = &mut self.workers[index];
        if worker.socket_bytes + wire.bytes.len() > SOCKET_BYTES {
            return out.note(Who::World, Step::Lost { why: "the socket is full" });
        }
        worker.socket_bytes += wire.bytes.len();
        worker.socket.push_back(wire);
        self.wake(index, out);
    }

    /// Packets for its TUN device.
    pub fn offer(&mut self, flow: u16, read: TunRead, out: &mut Outside) {
        let index = usize::from(flow) % self.workers.len();
        let worker = &mut self.workers[index];
        if !self.device.is_up() || worker.tun.len() == TUN_READS {
            return out.note(Who::World, Step::Lost { why: "the queue of the TUN device is full, or the link down" });
        }
        worker.tun.push_back(read);
        self.wake(index, out);
    }

    /// A datagram of another gateway for its TUN device.
    pub fn carry(&mut self, sender: usize, packet: Vec<u8>, out: &mut Outside) {
        let index = sender % self.workers.len();
        if !self.device.is_up() || self.workers[index].tun.len() == TUN_READS {
            return out.note(Who::World, Step::Lost { why: "the queue of the TUN device is full, or the link down" });
        }
        self.workers[index].tun.push_back(TunRead::Raw(packet));
        self.wake(index, out);
    }

    /// Wakes a worker.
    fn wake(&mut self, worker: usize, out: &mut Outside) {
        if self.workers[worker].wakes.is_none_or(|at| at > out.now) {
            let at = out.soon();
            self.wake_at(worker, at, out);
        }
    }

    fn wake_at(&mut self, worker: usize, at: Time, out: &mut Outside) {
        let place = &mut self.workers[worker].wakes;
        if place.is_none_or(|before| at < before) {
            *place = Some(at);
            out.agenda.enter(at, What::Turn { gateway: self.index, worker });
        }
    }

    /// Wakes control.
    fn wake_control(&mut self, out: &mut Outside) {
        let at = out.later();
        self.wake_control_at(at, out);
    }

    fn wake_control_at(&mut self, at: Time, out: &mut Outside) {
        if self.control.wakes.is_none_or(|before| at < before) {
            self.control.wakes = Some(at);
            out.agenda.enter(at, What::Control { gateway: self.index });
        }
    }

    /// Gives all workers an order of the operator's.
    fn broadcast(&mut self, mut order: impl FnMut() -> Order, out: &mut Outside) {
        for worker in 0..self.workers.len() {
            self.workers[worker].inbox.orders.push_back(order());
            self.workers[worker].inbox.rung = true;
            self.wake(worker, out);
        }
    }

    /// What nobody can know goes no further than the worker that it comes to. The table that says so may be wrong about
    /// an index, rarely.
    ///
    /// # Errors
    /// How much went further.
    pub fn check_strangers(&self) -> Result<(), String> {
        let Strangers { seen, handed, .. } = self.strangers;
        if handed <= 16 + seen / 256 {
            return Ok(());
        }
        let index = self.index;
        Err(format!("g{index}: of {seen} datagrams under indices of nobody {handed} went on to other workers"))
    }

    /// Whether everything has ended: no key, no deadline, no packet, and each slot at home.
    ///
    /// # Errors
    /// What has not.
    pub fn check_idle(&mut self) -> Result<(), String> {
        let index = self.index;
        if let Some(due) = self.device.poll_timeout() {
            return Err(format!("g{index} is idle, and waits for {:?}", self.outside(due)));
        }
        let keys: usize = self.workers.iter().map(|worker| worker.path.sessions()).sum();
        let staged: usize = self.workers.iter().map(|worker| worker.path.staged()).sum();
        if keys + staged > 0 {
            return Err(format!("g{index} is idle, with {keys} keys, and {staged} packets that wait"));
        }
        self.check_slots_at_home()
    }

    /// Whether each slot comes home when nobody uses it any more.
    ///
    /// # Errors
    /// Which do not.
    pub fn check_slots_at_home(&mut self) -> Result<(), String> {
        self.check_books()?;
        self.workers.iter_mut().for_each(Worker::let_go);
        for worker in &self.workers {
            worker.path.pool().drain_returns();
            let (at, staged) = (worker.path.pool().accounting(), worker.path.staged());
            if at.held + at.kernel != staged {
                return Err(format!("g{}: {at:?}, and {staged} packets wait", self.index));
            }
        }
        Ok(())
    }

    /// The drops of all its threads in this life, by name.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        let workers = self.workers.iter().map(|worker| &worker.path.counters().drops);
        for (reason, count) in workers.chain([self.device.drops()]).flat_map(|drops| drops.iter()) {
            *sums.entry(reason.name()).or_default() += count;
        }
        sums.retain(|_, count| *count > 0);
        sums
    }
}

fn node_of(index: usize) -> Node {
    const BITS: u8 = 3;
    Node::new(index as u32 % (1 << BITS), BITS).expect("it fits")
}

fn plan(site: &Site) -> Plan {
    Plan::fixed(if site.aws { Provider::AwsLc } else { Provider::RustCrypto })
}
