//! The data path: all that happens to a packet between the TUN interface and the socket.
//!
//! ```text
//!   out   handle_packet ──► route ──► gather ──► seal ──► poll_transmit
//!                             │         ▲          ▲
//!                             │       stage      segment (a super-packet, straight into its trains)
//!                             └► turn back ──► poll_write (an ICMP error)
//!
//!   in    handle_train ──► classify ──► open ──► effects ──► check ──► deliver ──► poll_write
//!                             │  │      ▲ └► hand over ──► poll_handoff
//!                             │  └ lone ┘
//!                             └► screen ──► poll_handshake, or poll_transmit (a cookie)
//! ```
//!
//! There is no ring, no file descriptor and no clock here. Packets come in as views with what the edges know of them,
//! orders and the time come in as arguments. What comes of them waits in queues until it is taken by a `poll_` method.
//! The owner gives one [`DataPath`] to each worker. Workers share a [`PeerCell`] per peer, the nodes of the routes, and
//! what is known of tunnels inside tunnels.
//!
//! All of it is one value. A step of a walk is a part of the `impl` of [`DataPath`], in a file of its own. What a step
//! keeps from packet to packet is a field of it.
//!
//! The walk of a packet allocates nothing. Orders may, and so may what is rare: a peer that has moved, a super-packet
//! that the kernel refused. A step that finds no slot says so ([`Outcome::NoSlot`]); the owner frees some and resumes
//! it.

#![forbid(unsafe_code)]

#[cfg(feature = "bare-shell")]
pub mod bare;
pub mod budget;
mod counters;
mod dispatch;
mod inbound;
mod losses;
mod orders;
mod outbound;
mod outputs;
mod passive;
mod peers;
mod sessions;
mod stages;
mod staging;
pub mod tap;
pub mod turns;

pub use counters::{Counters, TrainLengths};
pub use dispatch::{Dispatch, Mailboxes};
pub use inbound::{COOKIES_PER_SECOND, TRAIN_ROOM, Train};
pub use orders::{Order, SessionOrder};
pub use outputs::{HANDSHAKE_TRAFFIC_CLASS, Handoff, HandshakeMessage, Left, Report, Sent, Transmit, Unsent};
pub use stages::{Stage, Unwatched, Watch};

use std::sync::Arc;

use ring_buffers::{Pool, SlotClass, View};
use ringfort_aead::{OpenKey, SealKey};
use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::cell;
use ringfort_core::drops::DropReason;
use ringfort_core::handover::ReceiverReport;
use ringfort_core::icmp::Allowance;
use ringfort_core::ids::PeerId;
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::whereabouts::Whereabouts;
use ringfort_core::wire::DATA_HEADER_LEN;
use vnet_packets::Merge;

use inbound::{Lone, Merging, Screen, Told};
use losses::UnroutedReports;
use outbound::{Arrivals, Gathered, Heads, Stalled};
use outputs::Outputs;
use peers::PeerTable;
use sessions::Sessions;
use staging::Staging;
use tap::Tap;

/// A peer as all workers see it, with the cipher of the session to send with.
pub type PeerCell = cell::PeerCell<SealKey>;
/// A receiving half with its cipher.
pub type Receiver = cell::Receiver<OpenKey, SealKey>;

/// Bytes of the longest train that one send can carry: the largest UDP payload over IPv4 (65,535 − 20 − 8).
pub const TRAIN_BYTES_MAX: usize = 65_507;

/// Datagrams of the longest train that one receive brings. The kernel merges 64, but since 6.9 it passes on trains of
/// 128 that were sent as such on this machine (`UDP_MAX_SEGMENTS` in `include/linux/udp.h`).
const DATAGRAMS_MAX: usize = 128;

/// Messages that may wait for each other: about as many as there are slots to receive into.
const LONE_MAX: usize = 32;

/// Longest headers of a segment: those of a flow in a tunnel. Outside IPv4 with all options and UDP (60 + 8), Geneve
/// with all options and Ethernet (260 + 14), inside IPv6, and TCP with all options (40 + 60): 442 bytes. A multiple of
/// a line of the cache.
const HEADERS_MAX: usize = 448;

/// Peers that a worker may begin to wait for before it looks whether their sessions have come meanwhile.
const ENTERED_MAX: usize = 256;

/// What a data path is told when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The number of its worker, from 0.
    pub worker: usize,
    /// How many workers the gateway has. A receiver index names one of them.
    pub workers: usize,
    /// Which of several gateways this is. A receiver index names that one as well.
    pub node: Node,
    /// The MTU of the interface in bytes.
    pub mtu: usize,
    /// Which packets are merged into one write.
    pub merge: Merge,
    /// No train may end in a segment as long as the others.
    pub ragged: bool,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a step without a slot must be resumed or given up"]
pub enum Outcome {
    /// The step is done. What came of it can be polled.
    Done,
    /// There is no slot to go on with. Take what can be polled, free slots, and call [`DataPath::resume`]; or
    /// [`DataPath::give_up`] if there are none to free.
    NoSlot,
}

/// The data path of one worker. `W` is told where one stage of the way ends and the next begins.
pub struct DataPath<W = Unwatched> {
    config: Config,
    pool: Pool,
    nesting: Arc<Nesting>,
    watch: W,
    peers: PeerTable,
    sessions: Sessions,
    routes: AllowedIps,
    /// The routes, while the gateway is passive: then those in force are none.
    standing_by: Option<AllowedIps>,
    /// How often the routes were replaced.
    routes_version: u64,
    /// Where peers are, as long as sessions are recovered that were lost.
    whereabouts: Option<Arc<Whereabouts>>,
    /// How much of what strangers may have sent control is still told.
    told: Told,
    /// Who asks handshake messages before control does.
    screen: Screen,
    /// Datagrams that were dropped before anything about them was authentic.
    worthless: u64,
    /// Messages that came alone in this turn, and are opened together.
    waiting: Vec<Lone>,
    /// Packets that wait for a key.
    staging: Staging,
    /// Peers for which this worker began to wait in this turn.
    entered: Vec<PeerId>,
    /// Packets that are routed together.
    arrivals: Arrivals,
    /// Packets that have a peer and a key.
    gathered: Gathered,
    /// Headers of the segments of a train in the making.
    heads: Box<Heads>,
    /// What found no slot to go on with.
    stalled: Option<Stalled>,
    /// What senders may still be told about packets that no peer can have.
    icmp_allowance: Allowance,
    unrouted: UnroutedReports,
    /// Runs of packets for the TUN.
    merging: Merging,
    /// Keys have gone since [`DataPath::take_forgotten`].
    has_forgotten: bool,
    outputs: Outputs,
    counters: Counters,
    /// Shows packets to whoever looks on, if anybody does.
    tap: Option<Box<Tap>>,
}

impl<W: Watch> DataPath<W> {
    /// A data path without peers, on slots of `pool`, whose arena has the lines of [`budget::budget`].
    #[must_use]
    pub fn new(config: Config, pool: Pool, nesting: Arc<Nesting>, watch: W) -> Self {
        Self {
            pool,
            nesting,
            watch,
            peers: PeerTable::default(),
            sessions: Sessions::default(),
            routes: AllowedIps::new(),
            standing_by: None,
            routes_version: 0,
            whereabouts: None,
            told: Told::default(),
            screen: Screen::default(),
            worthless: 0,
            waiting: Vec::with_capacity(LONE_MAX),
            staging: Staging::new(budget::STAGED_LIMITS, budget::STAGED_JUMBO_LIMITS),
            entered: Vec::with_capacity(ENTERED_MAX + budget::GATHERED_MAX),
            arrivals: Arrivals::new(),
            gathered: Gathered::new(),
            heads: outbound::no_heads(),
            stalled: None,
            icmp_allowance: Allowance::default(),
            unrouted: UnroutedReports::default(),
            merging: Merging::new(config.merge),
            has_forgotten: false,
            outputs: Outputs::new(),
            counters: Counters::default(),
            tap: None,
            config,
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Datagrams so far that anybody could have sent, and that were dropped. If all that a turn has brought is of this
    /// kind, nobody minds when the next turn begins.
    #[must_use]
    pub const fn worthless(&self) -> u64 {
        self.worthless
    }

    /// Counts `n` packets or datagrams that the owner threw away.
    pub fn count_drop(&mut self, reason: DropReason, n: usize) {
        self.counters.drop(reason, n);
    }

    /// Packets that wait for a session now.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.staging.len()
    }

    /// Packets that wait for a session of one peer.
    #[must_use]
    pub fn staged_for(&self, peer: PeerId) -> usize {
        self.staging.waiting(peer)
    }

    /// The packet of a peer that has waited longest for a session among those of one class.
    #[must_use]
    pub fn oldest_staged(&self, peer: PeerId, class: SlotClass) -> Option<&View> {
        self.staging.front(peer, class)
    }

    /// Whether plain runs of packets are still merged: the kernel has refused none of them. This stays true after it
    /// has refused a run in a UDP tunnel, which ends merging in tunnels only.
    #[must_use]
    pub const fn merges(&self) -> bool {
        self.merging.works()
    }

    /// Receiving halves that this worker owns.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a session has ended, or a peer has gone, since this was asked last. Whoever used their keys has left
    /// traces on the stack, and wipes them now.
    #[inline]
    pub const fn take_forgotten(&mut self) -> bool {
        std::mem::replace(&mut self.has_forgotten, false)
    }

    /// How far the sessions are that this worker owns, for another process. Nothing may come of them any more.
    pub fn session_reports(&self) -> impl Iterator<Item = ReceiverReport> {
        self.sessions.values().map(|receiver| ReceiverReport::of(receiver))
    }

    /// Copies of the packets that wait for sessions, each with this worker and its peer, in the order in which they
    /// came.
    ///
    /// # Panics
    /// There are more workers than a receiver index can name.
    #[must_use]
    pub fn waiting_packets(&self) -> Vec<(u8, PeerId, Vec<u8>)> {
        let worker = u8::try_from(self.config.worker).expect("a worker's number has a byte");
        let packet = |(peer, view): (_, &View)| (worker, peer, view[DATA_HEADER_LEN..].to_vec());
        self.staging.all().into_iter().map(packet).collect()
    }

    /// The slots.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Tells whoever looks on that there is something new to see. To be called at the end of a turn.
    #[inline]
    pub fn tell_tap(&mut self) {
        if let Some(tap) = &mut self.tap {
            tap.tell();
        }
    }

    /// What is told of the stages.
    pub const fn watch(&mut self) -> &mut W {
        &mut self.watch
    }
}

impl<W> std::fmt::Debug for DataPath<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPath")
            .field("config", &self.config)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
