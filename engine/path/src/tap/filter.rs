//! Which packets somebody wants to see, and how much of each.

use ringfort_core::ids::PeerId;

/// Where a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the tunnel: IP packets.
    Plain,
    /// On the wire: WireGuard's datagrams.
    Cipher,
}

impl Side {
    /// How many there are.
    pub const COUNT: usize = 2;
    /// Both.
    pub const ALL: [Self; Self::COUNT] = [Self::Plain, Self::Cipher];
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer to us.
    In,
    /// From us to the peer.
    Out,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// By side.
    pub sides: [bool; Side::COUNT],
    /// The only direction.
    pub direction: Option<Direction>,
    /// Only what is dropped.
    pub drops_only: bool,
    /// Nobody else's packets. Empty: everybody's, and what belongs to nobody.
    pub peers: Box<[PeerId]>,
    /// One packet of so many, at least 1.
    pub one_in: u32,
    /// The most that is kept of a packet, in bytes.
    pub snap_len: usize,
}

impl Default for Filter {
    /// All of every packet.
    fn default() -> Self {
        Self {
            sides: [true; Side::COUNT],
            direction: None,
            drops_only: false,
            peers: Box::default(),
            one_in: 1,
            snap_len: usize::MAX,
        }
    }
}

impl Filter {
    pub(super) const fn side(&self, side: Side) -> bool {
        self.sides[side as usize]
    }

    pub(super) fn wants(&self, side: Side, direction: Direction, is_dropped: bool) -> bool {
        self.side(side) && self.direction.is_none_or(|only| only == direction) && (is_dropped || !self.drops_only)
    }

    pub(super) fn wants_peer(&self, peer: Option<PeerId>) -> bool {
        self.peers.is_empty() || peer.is_some_and(|peer| self.peers.contains(&peer))
    }

    /// Whether the sample has a message. A hash, so trains and rhythms do not beat against it.
    pub(super) const fn picks(&self, receiver: u32, counter: u64) -> bool {
        mix(counter ^ (receiver as u64) << 32).is_multiple_of(self.one_in as u64)
    }
}

/// The finalizer of SplitMix64: each bit of the input changes half of the output's.
const fn mix(mut n: u64) -> u64 {
    n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
