//! What happened, when and to whom: the last steps in words, and all of them in one number.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::time::Time;

/// Steps that are kept.
const KEPT: usize = 4_096;

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The network, an operator, a user, a stranger.
    World,
    /// The control thread of a gateway.
    Control(usize),
    /// A worker of a gateway.
    Worker(usize, usize),
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Packets of a flow were put into the TUN device.
    Offered { flow: u16, sequence: u32, count: u16 },
    /// A train left. `tag` is of its last datagram.
    Sent { to: SocketAddr, index: u32, counter: u64, count: usize, stride: usize, tag: u64 },
    /// A handshake message left.
    Asked { to: SocketAddr, kind: u8, tag: u64 },
    /// Datagrams were read from the socket.
    Received { from: SocketAddr, kind: u8, index: u32, counter: u64, count: usize, handed: bool },
    /// Packets of a flow came out of the TUN device.
    Delivered { flow: u16, sequence: u32, count: u32 },
    /// Control was told something, or had no room for it.
    Told { event: &'static str, peer: u32, taken: bool },
    /// A worker read its mail.
    Ordered { order: &'static str, number: u32 },
    /// Something was thrown away.
    Dropped { reason: DropReason, count: u64 },
    /// The network took a datagram.
    Lost { why: &'static str },
    /// A step found no slot.
    NoSlot { resumed: bool },
    /// Something of the scenario begins or ends.
    Happens { place: usize, begins: bool },
}

/// A step with its time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Time,
    who: Who,
    step: Step,
}

/// The trace of one run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    last: VecDeque<Entry>,
    hash: Mixer,
    steps: u64,
}

/// A hash that is the same on every machine and in every process.
#[derive(Clone, Copy, Debug, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

impl Trace {
    /// Notes a step.
    pub fn note(&mut self, at: Time, who: Who, step: Step) {
        (at, who, step).hash(&mut self.hash);
        self.steps += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Entry { at, who, step });
    }

    /// All steps in one number: two runs that are the same have the same.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash.0
    }

    /// How many steps there were.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The last `count` steps, a line each.
    #[must_use]
    pub fn last(&self, count: usize) -> String {
        let from = self.last.len().saturating_sub(count);
        self.last.range(from..).map(|entry| format!("{entry}\n")).collect()
    }
}

/// The words for an event, and the number of its peer.
#[must_use]
pub const fn words(event: PeerEvent) -> (&'static str, u32) {
    match event {
        PeerEvent::Awake(peer) => ("awake", peer.index),
        PeerEvent::NeedHandshake { peer, .. } => ("needs a handshake", peer.index),
        PeerEvent::Confirmed(peer) => ("confirmed", peer.index),
        PeerEvent::Found(peer) => ("found", peer.index),
        PeerEvent::LostSession(peer) => ("sends under a lost session", peer.index),
        PeerEvent::Moved(peer) => ("moved", peer.index),
        PeerEvent::Dropped { peer, .. } => ("dropped", peer.index),
        PeerEvent::WrongKey { .. } => ("another key", u32::MAX),
        PeerEvent::Unrouted { .. } => ("no peer", u32::MAX),
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.at.as_nanos();
        write!(f, "{:>5}.{:06}  ", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1_000)?;
        match self.who {
            Who::World => write!(f, "{:<12}", "")?,
            Who::Control(at) => write!(f, "g{at} control  ")?,
            Who::Worker(at, worker) => write!(f, "g{at} worker {worker} ")?,
        }
        write!(f, "{}", self.step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Offered { flow, sequence, count } => {
                write!(f, "offered: flow {flow}, packets {sequence} to {}", u64::from(sequence) + u64::from(count) - 1)
            }
            Self::Sent { to, index, counter, count, stride, .. } => {
                write!(f, "sends {count} × {stride} B to {to}: session {index:08x}, from counter {counter}")
            }
            Self::Asked { to, kind, .. } => write!(f, "sends {} to {to}", kind_name(kind)),
            Self::Received { from, kind, index, counter, count, handed } => {
                let how = if handed { "is handed" } else { "receives" };
                write!(f, "{how} {count} from {from}, first {}", kind_name(kind))?;
                if kind == 4 { write!(f, ": session {index:08x}, counter {counter}") } else { Ok(()) }
            }
            Self::Delivered { flow, sequence, count } => {
                write!(f, "delivers: flow {flow}, packet {sequence} and {} more", count - 1)
            }
            Self::Told { event, peer, taken } => {
                write!(f, "tells control: peer {peer} {event}{}", if taken { "" } else { "; there is no room" })
            }
            Self::Ordered { order, number } => write!(f, "reads: {order} {number:x}"),
            Self::Dropped { reason, count } => write!(f, "drops {count}: {reason}"),
            Self::Lost { why } => write!(f, "network: {why}"),
            Self::NoSlot { resumed } => write!(f, "no slot; {}", if resumed { "resumed" } else { "given up" }),
            Self::Happens { place, begins } => {
                write!(f, "happening {place} {}", if begins { "begins" } else { "ends" })
            }
        }
    }
}

const fn kind_name(kind: u8) -> &'static str {
    match kind {
        1 => "an initiation",
        2 => "a response",
        3 => "a cookie reply",
        4 => "a data message",
        _ => "junk",
    }
}
