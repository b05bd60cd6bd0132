//! What happens in a run, as data: a seed determines it, and parts can be cut out of it.
//!
//! ```text
//!   start ─────────── faulty ───────────┬── settling, 21 s ──┬──────── calm ────────┬── silence ──► end
//!         network faults, happenings    │   nothing is wrong │ nothing is lost,     │ nobody sends,
//!                                       │                    │ late or out of order │ nothing is held
//! ```
//!
//! Import circle: `aimed`, `draw`. A scenario is drawn in one pass over the seed. The aimed ones are a part of it, and
//! draw their sites and talks as the others do.

mod added;
mod aimed;
mod cut;
mod draw;
mod show;

pub use cut::{Cut, Cuts};
pub use draw::draw;

use std::time::Duration;

use ringfort_core::time::Time;
use ringfort_path::tap::{Direction, Side};

use crate::packets::Transport;

/// When a run begins.
pub const START: Time = Time::from_secs(1_000);
/// The longest way through the network when it is in order.
pub const LATENCY: Duration = Duration::from_millis(20);
/// With traffic offered, a session exists so long after the last fault. The sum of the longest waits one after the
/// other: 15.33 s until silence is noticed, 5.33 s until a handshake message that the last fault took is sent again.
pub const SETTLING: Duration = Duration::from_secs(21);

/// The longest time between two words of a talk. What nobody has said yet, nobody can know: whoever must be found again
/// says something well before the network has settled.
pub const INTERVAL_MAX: Duration = Duration::from_secs(5);

/// A run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What everything was drawn from.
    pub seed: u64,
    /// The gateways; all are peers of each other.
    pub gateways: Vec<Site>,
    /// Pairs whose outer packets are IPv6, pairs under the second suite: by [`Scenario::pair`].
    pub outer_v6: u64,
    /// See there.
    pub second_suite: u64,
    /// Who does not know from the start where the other one is, by the same bits: the one with the higher number.
    pub unknown: u64,
    /// Who says what to whom.
    pub talks: Vec<Talk>,
    /// One way through the network: across a continent, a house, or a machine.
    pub latency: Duration,
    /// What the network does.
    pub network: Faults,
    /// What happens, in order of time.
    pub happenings: Vec<Happening>,
    /// How long things go wrong.
    pub faulty: Duration,
    /// How long sessions go on to wear out after that, see [`Site::first_counter`].
    pub wearing: Duration,
    /// How long nothing is lost after it has settled.
    pub calm: Duration,
    /// Nothing may be lost at all: then every fault of the network is a failure, which shows that failures are noticed.
    pub is_impatient: bool,
    /// What happens only delays: everything arrives, whenever it was offered.
    pub only_delays: bool,
    /// The tunnel between the third and the fourth gateway runs in that between the first and the second.
    pub nested: bool,
}

/// One gateway.
#[derive(Clone, Debug)]
pub struct Site {
    /// Threads of its data plane.
    pub workers: usize,
    /// MTU of its interface.
    pub mtu: usize,
    /// No train may end in a segment as long as the others.
    pub ragged: bool,
    /// Runs of TCP are merged, and runs of UDP.
    pub merges: (bool, bool),
    /// Its ciphers are those of the AWS library. Otherwise those of RustCrypto.
    pub aws: bool,
    /// How often a thread is interrupted between two steps, in 256.
    pub interrupted: u8,
    /// Its peers that nobody answers for.
    pub phantoms: usize,
    /// Persistent keepalive with all peers, in seconds; 0 is none.
    pub keepalive_secs: u16,
    /// Its routes count as a large table, however few they are: packets of a turn find their peers together.
    pub large_routes: bool,
    /// The counter that its sessions begin with, of those made before the network is in order, or in
    /// [`Scenario::wearing`]: near a limit, if not 0.
    pub first_counter: u64,
    /// What somebody wants to see who looks on.
    pub sight: Option<Sight>,
    /// Room for events and handshakes in control's queues, and for trains in that of a worker.
    pub queues: Queues,
}

/// What is shown to somebody who looks on at a gateway.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// What is in the tunnel, and what is on the wire.
    pub sides: [bool; Side::COUNT],
    /// The only direction.
    pub direction: Option<Direction>,
    /// Only what is dropped.
    pub drops_only: bool,
    /// Only packets of the peer that is this gateway.
    pub peer: Option<usize>,
    /// The most that is shown of a packet, in bytes.
    pub snap_len: usize,
}

/// Room in the queues between the threads.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Events for control.
    pub events: usize,
    /// Handshake messages for control.
    pub handshakes: usize,
    /// Trains for another worker.
    pub handoffs: usize,
}

/// What the network does while it is faulty. Chances are in 256, for each datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// It is gone.
    pub loss: u8,
    /// It comes twice.
    pub duplication: u8,
    /// A bit of it changes.
    pub corruption: u8,
    /// Its end is missing.
    pub truncation: u8,
    /// It comes to another worker than the reuseport program says.
    pub stray: u8,
    /// A router says Congestion Experienced.
    pub congestion: u8,
    /// The longest additional delay: order is lost by it.
    pub delay_max: Duration,
    /// Trains are cut, for each place between two datagrams. Also when the network is in order.
    pub cut: u8,
    /// Datagrams that could be one train at their receiver are. Also when the network is in order.
    pub merge: u8,
}

/// A flow of packets, and perhaps one of answers.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Who begins.
    pub from: usize,
    /// To whom. From the number of gateways on it is a phantom.
    pub to: usize,
    /// IPv6 inside.
    pub v6: bool,
    /// Over what.
    pub transport: Transport,
    /// Payload of a full packet.
    pub segment: u16,
    /// The DSCP.
    pub dscp: u8,
    /// The ECN field.
    pub ecn: u8,
    /// IPv4 identifications count up.
    pub counts_up: bool,
    /// The first offer.
    pub first: Duration,
    /// From one offer to the next.
    pub interval: Duration,
    /// Packets in one offer.
    pub burst: u16,
    /// How they come from the TUN device.
    pub style: Style,
    /// Each packet is answered as soon as it arrives.
    pub asks: bool,
    /// Nothing is said any more after that time from the start.
    pub until: Option<Duration>,
    /// The first packet has arrived so long after it was offered.
    pub due: Option<Duration>,
}

impl Talk {
    /// Whether something is said again and again, and soon after the network is in order.
    #[must_use]
    pub fn is_heard_soon(&self) -> bool {
        self.until.is_none() && self.interval <= INTERVAL_MAX
    }
}

/// How packets come from a TUN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One by one, complete.
    Lone,
    /// One by one, checksums left to the gateway.
    Partial,
    /// As one super-packet.
    Super,
    /// Some datagrams in two fragments, others whole.
    Fragments,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When, from the start.
    pub at: Duration,
    /// For how long, if it has an end.
    pub lasts: Duration,
    /// What.
    pub what: Disturbance,
}

/// What can happen. Gateways are `at`, peers are given by their gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// A gateway forgets all but its configuration.
    Restart { at: usize },
    /// It goes on in another process with so many workers, at any time of the run.
    HandOver { at: usize, workers: usize },
    /// None of its threads runs, and all its clocks have gone on by so many seconds when they do again.
    Suspend { at: usize, secs: u32 },
    /// Its control thread does not run.
    StopControl { at: usize },
    /// One of its workers does not run.
    StopWorker { at: usize, worker: usize },
    /// Its socket takes nothing: what is sent keeps its slot.
    StopSocket { at: usize },
    /// Its TUN device takes nothing.
    StopTun { at: usize },
    /// Its kernel refuses super-packets, and the gateway then makes no more of them.
    RefuseSupers { at: usize },
    /// Its kernel refuses half of what is sent, all of a train or a part of it.
    RefuseSends { at: usize },
    /// Its TUN device refuses some of what is written, without a word about super-packets.
    RefuseWrites { at: usize },
    /// Control has hardly any room for events.
    FullEvents { at: usize },
    /// Control has hardly any room for handshakes, workers for trains.
    FullQueues { at: usize },
    /// The port that others see it by changes.
    Rebind { at: usize },
    /// All its addresses change.
    Move { at: usize },
    /// The clock on its wall jumps.
    SetWall { at: usize, hours: i8 },
    /// It has a peer no more, until it has it again.
    RemovePeer { at: usize, peer: usize },
    /// It thinks that what belongs to one peer belongs to another.
    MovePrefix { at: usize, of: usize, to: usize },
    /// It has a new key; the others learn of it at the end.
    NewKey { at: usize },
    /// Two share a new secret, the second from the end on.
    NewPsk { at: usize, peer: usize },
    /// Two use another suite, the second from the end on.
    NewSuite { at: usize, peer: usize },
    /// Its keepalives for a peer are another number of seconds apart.
    Keepalive { at: usize, peer: usize, secs: u16 },
    /// The operator says where a peer is.
    SetEndpoint { at: usize, peer: usize },
    /// The interface is down.
    LinkDown { at: usize },
    /// It is demoted, and promoted at the end.
    StandBy { at: usize },
    /// The interface has another MTU.
    SetMtu { at: usize, mtu: usize },
    /// Strangers send forged and replayed datagrams.
    Flood { at: usize, kind: Flood, count: u16 },
    /// A route leads our own datagrams for a peer back into the tunnel.
    Loop { at: usize, peer: usize },
    /// Packets for addresses that no peer has come from the TUN device, more than may be answered.
    Unreachable { at: usize, count: u16 },
    /// Packets that nobody can make sense of come from the TUN device.
    Nonsense { at: usize, count: u16 },
}

/// What strangers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Random bytes.
    Junk,
    /// Data messages with an index that exists.
    Forged,
    /// What was seen on the wire, from where it came.
    Replayed,
    /// Initiations that know our key, and nothing else.
    Initiations,
    /// Trains of data under indices of anybody, each for another worker than the one before.
    Trains,
}

impl Scenario {
    /// Whether nothing is wrong but that strangers send trains: then slots are there for whoever wants one.
    #[must_use]
    pub fn is_only_flooded(&self) -> bool {
        let is_flood = |happening: &Happening| matches!(happening.what, Disturbance::Flood { kind: Flood::Trains, .. });
        self.network.stray == 0 && !self.happenings.is_empty() && self.happenings.iter().all(is_flood)
    }

    /// The bit of a pair.
    #[must_use]
    pub const fn pair(a: usize, b: usize) -> u64 {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        1 << (high * (high - 1) / 2 + low)
    }

    /// From when on nothing may be lost or late.
    #[must_use]
    pub fn settled(&self) -> Time {
        if self.is_impatient { START } else { self.in_order() + self.settling() }
    }

    /// How long it takes until everything has settled. A tunnel in a tunnel can only recover behind it.
    fn settling(&self) -> Duration {
        if self.nested { 2 * SETTLING } else { SETTLING }
    }

    /// Which gateway carries what the third and the fourth send each other, by the sender.
    #[must_use]
    pub fn carrier(&self, sender: usize) -> Option<usize> {
        (self.nested && sender >= 2).then(|| sender - 2)
    }

    /// From when on nothing that is offered may be lost.
    #[must_use]
    pub fn complete(&self) -> Time {
        if self.only_delays { START } else { self.settled() }
    }

    /// From when on nothing is wrong: the last late datagram has come.
    #[must_use]
    pub fn in_order(&self) -> Time {
        START + self.faulty + self.network.delay_max + 5 * LATENCY
    }

    /// When the last packet is offered.
    #[must_use]
    pub fn talked(&self) -> Time {
        self.in_order() + self.settling() + self.calm
    }
}
