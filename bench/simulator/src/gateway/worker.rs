//! A worker, and what the kernel keeps for it.

use std::collections::VecDeque;
use std::sync::Arc;

use ring_buffers::{Arena, Pool, View};
use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::drops::DropCounts;
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::time::Time;
use ringfort_path::{Config, DataPath, Handoff, Order, SessionOrder, Unwatched, budget};
use vnet_packets::Merge;

use super::books::Books;
use super::congestion::Congestion;
use super::errors::Errors;
use super::kernel::{Refused, Unsent};
use super::onlooker::Onlooker;
use super::returns::Returns;
use crate::network::Wire;
use crate::packets::{Flow, Number, write_packet, write_super};
use crate::scenario::Site;

/// What the next step of a turn is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Slots come home.
    #[default]
    Begin,
    /// Mail about sessions, then other mail is read.
    Mail,
    /// What other workers handed over is read.
    Handoffs,
    /// Trains are read.
    Wire,
    /// Runs are written.
    Runs,
    /// Packets are read.
    Tun,
    /// They are sealed.
    Seal,
}

/// Packets in the queue of a TUN device. They are written when they are read.
#[derive(Clone, Debug)]
pub enum TunRead {
    /// One packet. `partial`: its checksum is left to the gateway.
    Lone { number: Number, partial: bool },
    /// Several, of one flow, as a super-packet, the last with another length.
    Super { flow: u16, sequence: u32, count: u16, last: u16 },
    /// Bytes that are no packet of ours, with their virtio-net header.
    Raw(Vec<u8>),
}

/// What other threads have for a worker.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) sessions: VecDeque<SessionOrder>,
    pub(super) orders: VecDeque<Order>,
    pub(super) handoffs: VecDeque<Handoff>,
    /// Some of it was sent with a ring, or the worker reads it just now: it does not sleep before all is read.
    pub(super) rung: bool,
}

/// One worker.
pub(super) struct Worker {
    pub(super) path: DataPath<Unwatched>,
    pub(super) inbox: Inbox,
    pub(super) socket: VecDeque<Wire>,
    pub(super) socket_bytes: usize,
    pub(super) tun: VecDeque<TunRead>,
    /// What the kernel has not sent yet, and not taken as packets.
    pub(super) sends: Vec<View>,
    pub(super) writes: Vec<View>,
    /// What it will refuse.
    pub(super) unsent: Vec<Unsent>,
    pub(super) refused: Vec<Refused>,
    /// The present stage, and how many of its steps are done.
    pub(super) stage: Stage,
    pub(super) steps: usize,
    /// When it wakes up.
    pub(super) wakes: Option<Time>,
    /// It does not run until then.
    pub(super) stopped: Time,
    /// The routes that it uses.
    pub(super) routes: AllowedIps,
    pub(super) routes_version: u64,
    pub(super) books: Books,
    /// Messages that were read in this turn may wait to be opened with others.
    pub(super) gathers: bool,
    pub(super) returns: Returns,
    pub(super) congestion: Congestion,
    pub(super) errors: Errors,
    pub(super) onlooker: Option<Onlooker>,
    /// The drops that were noted.
    pub(super) drops: DropCounts,
    /// For pieces of a write.
    pub(super) pieces: Vec<View>,
}

impl Inbox {
    /// Whether the worker must not sleep: what is quiet waits until it turns for another reason.
    pub(super) fn keeps_awake(&self) -> bool {
        self.rung && !self.is_empty() || !self.handoffs.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.orders.is_empty() && self.handoffs.is_empty()
    }
}

impl Worker {
    pub(super) fn new(worker: usize, site: &Site, node: Node, nesting: Arc<Nesting>) -> Self {
        let merge = Merge { tcp: site.merges.0, udp: site.merges.1, ..Merge::NONE };
        let &Site { workers, mtu, ragged, .. } = site;
        let config = Config { worker, workers, node, mtu, merge, ragged };
        let pool = Pool::new(Arena::heap(&budget::budget()));
        Self {
            path: DataPath::new(config, pool, nesting, Unwatched),
            inbox: Inbox::default(),
            socket: VecDeque::new(),
            socket_bytes: 0,
            tun: VecDeque::new(),
            sends: Vec::new(),
            writes: Vec::new(),
            unsent: Vec::new(),
            refused: Vec::new(),
            stage: Stage::Begin,
            steps: 0,
            wakes: None,
            stopped: Time::ZERO,
            routes: AllowedIps::new(),
            routes_version: 0,
            books: Books::default(),
            gathers: false,
            returns: Returns::default(),
            congestion: Congestion::default(),
            errors: Errors::default(),
            onlooker: None,
            drops: DropCounts::new(),
            pieces: Vec::new(),
        }
    }

    /// Whether there is something to do.
    pub(super) fn has_work(&self) -> bool {
        let kernel_is_done = self.unsent.is_empty() && self.refused.is_empty();
        self.inbox.keeps_awake() || !(self.socket.is_empty() && self.tun.is_empty() && kernel_is_done)
    }

    /// Whether nothing waits in it that is not to be handed over.
    pub(super) fn is_at_rest(&self) -> bool {
        self.inbox.is_empty() && self.unsent.is_empty() && self.refused.is_empty() && self.path.is_drained()
    }

    /// The kernel and all queues let go of what they have.
    pub(super) fn let_go(&mut self) {
        self.sends.clear();
        self.writes.clear();
        self.unsent.clear();
        self.refused.clear();
        self.inbox.handoffs.clear();
    }
}

impl TunRead {
    /// Writes it as the kernel would, and returns how long it is.
    pub(super) fn write(&self, flows: &[Flow], to: &mut [u8]) -> usize {
        match self {
            Self::Lone { number, partial } => write_packet(&flows[usize::from(number.flow)], *number, *partial, to),
            Self::Super { flow, sequence, count, last } => {
                write_super(&flows[usize::from(*flow)], *sequence, *count, *last, to)
            }
            Self::Raw(bytes) => {
                to[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }
        }
    }

    /// How many packets it is.
    pub(super) const fn packets(&self) -> u64 {
        match self {
            Self::Super { count, .. } => *count as u64,
            Self::Lone { .. } | Self::Raw(_) => 1,
        }
    }
}
