//! `ringfort capture`: packets of a gateway that runs, as pcapng, for Wireshark and tshark.
//!
//! ```text
//!   workers, control ── taps ──► a queue of bytes each ──► recorder ──► the client's connection ──► file, pipe
//!                                 bounded; full: lost      a thread     whose reader may be slow
//! ```
//!
//! The request comes over the control socket, and its connection then carries the packets. Control copies none of
//! them: it starts the recorder, and tells it the names of peers. The recorder lives as long as its capture. A reader
//! that is slow or stopped keeps nobody else waiting, and what it costs is counted as lost.
//!
//! There is one capture at a time. It ends with its limits, with its client, or with the gateway. Keys are never
//! written; what is in the tunnel is, unless only the ciphertext was asked for.

mod end;
mod names;
mod pcapng;
mod recorder;
mod shared;

pub use recorder::{LAST_WORK, Recorder, Subject};
pub use shared::Shared;

use std::time::Duration;

use ringfort_core::ids::PeerId;
use ringfort_path::tap::{Direction, Filter, Side};
use serde::{Deserialize, Serialize};

/// Interfaces of the file, in this order.
pub const SIDES: [Side; Side::COUNT] = Side::ALL;
/// Peers that one capture can be of, unless it is of all.
pub const PEERS_MAX: usize = 16;
/// The most memory that the queues of one capture may have in all, in bytes.
pub const MEMORY_MAX: u64 = 1 << 30;
/// Blocks of the file: a packet in it, and what was counted of an interface.
pub const PACKET_BLOCK: u32 = pcapng::ENHANCED_PACKET;
/// See there.
pub const STATISTICS_BLOCK: u32 = pcapng::INTERFACE_STATISTICS;
pub use pcapng::{Statistics, read_interface, read_statistics};

/// What somebody wants captured, and how much of it. A line of JSON on the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Public keys in hexadecimal; none: all peers, and what belongs to no peer.
    pub peers: Vec<String>,
    /// What goes through the tunnel.
    pub plain: bool,
    /// What goes over the wire.
    pub cipher: bool,
    /// What comes from peers.
    pub inbound: bool,
    /// What goes to them.
    pub outbound: bool,
    /// Only what is dropped.
    pub drops_only: bool,
    /// The most that is kept of a packet, in bytes; 0 for all of it.
    pub snap_len: u32,
    /// One packet of so many.
    pub one_in: u32,
    /// The capture ends with so many packets; 0: it does not.
    pub count: u64,
    /// Or with so many bytes of the file.
    pub bytes: u64,
    /// Or after so many milliseconds.
    pub time_ms: u64,
    /// Bytes of each worker's queue.
    pub queue: u32,
}

impl Request {
    /// What is wanted of each worker, of these peers.
    #[must_use]
    pub fn filter(&self, peers: Box<[PeerId]>) -> Filter {
        let direction = match (self.inbound, self.outbound) {
            (true, false) => Some(Direction::In),
            (false, true) => Some(Direction::Out),
            _ => None,
        };
        let snap_len = if self.snap_len == 0 { usize::MAX } else { self.snap_len as usize };
        let (sides, drops_only, one_in) = ([self.plain, self.cipher], self.drops_only, self.one_in.max(1));
        Filter { sides, direction, drops_only, peers, one_in, snap_len }
    }

    /// How long it goes on at most.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        (self.time_ms > 0).then(|| Duration::from_millis(self.time_ms))
    }

    /// In words: what is captured, for the log and for whoever asked.
    #[must_use]
    pub fn describe(&self) -> String {
        let side = match (self.plain, self.cipher) {
            (true, false) => "plaintext",
            (false, true) => "ciphertext",
            _ => "plaintext and ciphertext",
        };
        let direction = match (self.inbound, self.outbound) {
            (true, false) => " on the way in",
            (false, true) => " on the way out",
            _ => "",
        };
        let peers = match self.peers.len() {
            0 => "all peers".to_owned(),
            1 => "one peer".to_owned(),
            n => format!("{n} peers"),
        };
        let mut text = format!("{side}{direction} of {peers}");
        if self.drops_only {
            text += ", only what is dropped";
        }
        if self.one_in > 1 {
            text += &format!(", one packet of {}", self.one_in);
        }
        if self.snap_len > 0 {
            text += &format!(", the first {} bytes of each", self.snap_len);
        }
        text
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
