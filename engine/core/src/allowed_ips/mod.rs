//! Crypto-routing: which peer an inner address belongs to, by longest prefix across all peers (paper, section 2).
//!
//! One trie per address family, see `trie.rs`. It is persistent: a clone shares everything, and an update copies only
//! the arrays on the path to the changed prefix, and those only while an older version is still read
//! ([`Arc::make_mut`](std::sync::Arc::make_mut)). Control therefore publishes a new version of a million prefixes at
//! the price of at most 7 arrays (IPv4) or 26 (IPv6) of 63 entries at most. The workers read theirs without a lock.

mod bits;
mod together;
mod trie;

pub use together::{Found, TOGETHER_MAX};

use std::fmt;
use std::net::IpAddr;

use crate::ids::PeerId;
use bits::Bits;
use together::Batch;
use trie::Trie;

/// From so many prefixes on, lookups of random addresses miss the caches of a core.
const LARGE: usize = 1 << 14;

/// An address prefix with all bits behind the prefix zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// The prefix of `addr` with `len` bits, the host bits cleared. `None` if the family has fewer bits.
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        let addr = match addr {
            IpAddr::V4(v4) if len <= 32 => IpAddr::V4(v4.to_bits().masked(len).into()),
            IpAddr::V6(v6) if len <= 128 => IpAddr::V6(v6.to_bits().masked(len).into()),
            _ => return None,
        };
        Some(Self { addr, len })
    }

    /// The network address.
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// The number of significant bits.
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether the prefix is of length zero, the default route of its family.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All peers' prefixes, in one version that never changes under its readers.
#[derive(Clone, Debug)]
pub struct AllowedIps {
    v4: Trie<u32>,
    v6: Trie<u128>,
    /// From so many prefixes on it is large.
    large_from: usize,
}

impl Default for AllowedIps {
    fn default() -> Self {
        Self::new()
    }
}

impl AllowedIps {
    /// Without any prefix.
    pub const fn new() -> Self {
        Self { v4: Trie::new(), v6: Trie::new(), large_from: LARGE }
    }

    /// The same table, large from so many prefixes on. Whoever tests what happens then need not have thousands.
    #[must_use]
    pub const fn with_large_from(mut self, prefixes: usize) -> Self {
        self.large_from = prefixes;
        self
    }

    /// Gives `prefix` to `peer`, and returns the peer that had it before.
    pub fn insert(&mut self, prefix: Prefix, peer: PeerId) -> Option<PeerId> {
        match prefix.addr {
            IpAddr::V4(addr) => self.v4.insert(addr.to_bits(), prefix.len, peer),
            IpAddr::V6(addr) => self.v6.insert(addr.to_bits(), prefix.len, peer),
        }
    }

    /// Takes `prefix` away from `peer`. False, and nothing changes, if that peer does not have it.
    pub fn remove(&mut self, prefix: Prefix, peer: PeerId) -> bool {
        match prefix.addr {
            IpAddr::V4(addr) => self.v4.remove(addr.to_bits(), prefix.len, peer),
            IpAddr::V6(addr) => self.v6.remove(addr.to_bits(), prefix.len, peer),
        }
    }

    /// The peer with the longest prefix that contains `addr`.
    #[inline]
    pub fn lookup(&self, addr: IpAddr) -> Option<PeerId> {
        match addr {
            IpAddr::V4(addr) => self.v4.lookup(addr.to_bits()),
            IpAddr::V6(addr) => self.v6.lookup(addr.to_bits()),
        }
    }

    /// The same for several addresses. In a large table ([`AllowedIps::is_large`]) this takes a fraction of the time of
    /// as many lookups; in a small one it takes longer.
    ///
    /// # Panics
    /// If there are more than [`TOGETHER_MAX`].
    pub fn lookup_together(&self, addrs: &[IpAddr]) -> Found {
        let (mut v4, mut v6) = (Batch::new(0), Batch::new(0));
        for (place, &addr) in addrs.iter().enumerate() {
            match addr {
                IpAddr::V4(addr) => v4.add(place, addr.to_bits()),
                IpAddr::V6(addr) => v6.add(place, addr.to_bits()),
            }
        }
        let mut found = [None; TOGETHER_MAX];
        self.v4.lookup_together(&v4, &mut found);
        self.v6.lookup_together(&v6, &mut found);
        found
    }

    /// Whether the table is so large that lookups should be made together.
    #[inline]
    pub const fn is_large(&self) -> bool {
        self.len() >= self.large_from
    }

    /// How many prefixes there are.
    pub const fn len(&self) -> usize {
        self.v4.count + self.v6.count
    }

    /// Whether there is no prefix at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
