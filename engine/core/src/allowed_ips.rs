//! Crypto-routing: which peer an inner address belongs to, by longest prefix across all peers (paper, section 2).
//!
//! One path-compressed binary trie per address family, persistent: cloning shares every node, and an update copies only
//! the nodes on the path to the changed prefix, and those only while an older version is still read
//! ([`Arc::make_mut`]). Control therefore publishes a new version of a million prefixes for the price of at most 129
//! nodes, and the workers read theirs without a lock.
//!
//! Recursion, the implicit one of dropping a trie included, is as deep as a path is long; each step down a path fixes
//! at least one more bit, so no path has more than 33 nodes (IPv4) or 129 (IPv6), however many prefixes there are.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::ids::PeerId;

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
#[derive(Clone, Debug, Default)]
pub struct AllowedIps {
    v4: Trie<u32>,
    v6: Trie<u128>,
}

impl AllowedIps {
    /// Without any prefix.
    pub const fn new() -> Self {
        Self { v4: Trie::new(), v6: Trie::new() }
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

    /// How many prefixes there are.
    pub const fn len(&self) -> usize {
        self.v4.count + self.v6.count
    }

    /// Whether there is no prefix at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An address as bits, most significant first.
trait Bits: Copy + Eq + fmt::Debug {
    const WIDTH: u8;

    /// The first `len` bits, the others zero.
    fn masked(self, len: u8) -> Self;
    /// The bit at `at`, 0 being the most significant.
    fn bit(self, at: u8) -> usize;
    /// How many leading bits two addresses share.
    fn common(self, other: Self) -> u8;
}

macro_rules! impl_bits {
    ($type:ty) => {
        impl Bits for $type {
            const WIDTH: u8 = Self::BITS as u8;

            #[inline]
            fn masked(self, len: u8) -> Self {
                // A shift by the full width, which is what length zero asks for, overflows: nothing is left then.
                self & Self::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }

            #[inline]
            fn bit(self, at: u8) -> usize {
                (self >> (Self::WIDTH - 1 - at) & 1) as usize
            }

            #[inline]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
        }
    };
}

impl_bits!(u32);
impl_bits!(u128);

type Link<B> = Option<Arc<Node<B>>>;

/// A prefix that someone has, or a fork between two subtrees. Children are strictly longer than their parent and
/// continue it; a node without a peer has both children.
#[derive(Clone, Debug)]
struct Node<B> {
    bits: B,
    len: u8,
    peer: Option<PeerId>,
    children: [Link<B>; 2],
}

impl<B: Bits> Node<B> {
    fn leaf(bits: B, len: u8, peer: PeerId) -> Arc<Self> {
        Arc::new(Self { bits, len, peer: Some(peer), children: [None, None] })
    }

    /// Whether this node's prefix contains the first `len` bits of `bits`.
    #[inline]
    fn contains(&self, bits: B, len: u8) -> bool {
        self.len <= len && self.bits.common(bits) >= self.len
    }
}

#[derive(Clone, Debug)]
struct Trie<B> {
    root: Link<B>,
    count: usize,
}

impl<B> Default for Trie<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Trie<B> {
    const fn new() -> Self {
        Self { root: None, count: 0 }
    }
}

impl<B: Bits> Trie<B> {
    #[inline]
    fn lookup(&self, bits: B) -> Option<PeerId> {
        let mut best = None;
        let mut link = &self.root;
        while let Some(node) = link {
            if !node.contains(bits, B::WIDTH) {
                break;
            }
            best = node.peer.or(best);
            if node.len == B::WIDTH {
                break;
            }
            link = &node.children[bits.bit(node.len)];
        }
        best
    }

    fn insert(&mut self, bits: B, len: u8, peer: PeerId) -> Option<PeerId> {
        let before = insert(&mut self.root, bits, len, peer);
        self.count += usize::from(before.is_none());
        before
    }

    fn remove(&mut self, bits: B, len: u8, peer: PeerId) -> bool {
        // Looking first keeps a removal that finds nothing from copying the path.
        if self.exact(bits, len) != Some(peer) {
            return false;
        }
        remove(&mut self.root, bits, len);
        self.count -= 1;
        true
    }

    fn exact(&self, bits: B, len: u8) -> Option<PeerId> {
        let mut link = &self.root;
        while let Some(node) = link {
            if !node.contains(bits, len) {
                return None;
            }
            if node.len == len {
                return node.peer;
            }
            link = &node.children[bits.bit(node.len)];
        }
        None
    }
}

fn insert<B: Bits>(root: &mut Link<B>, bits: B, len: u8, peer: PeerId) -> Option<PeerId> {
    let mut link = root;
    // Descend as long as the node's prefix contains the new one; the path is copied where it is shared.
    while link.as_ref().is_some_and(|node| node.contains(bits, len)) {
        let node = Arc::make_mut(link.as_mut().expect("the loop's condition saw a node"));
        if node.len == len {
            return node.peer.replace(peer);
        }
        link = &mut node.children[bits.bit(node.len)];
    }
    let Some(below) = link.take() else {
        *link = Some(Node::leaf(bits, len, peer));
        return None;
    };
    // The node here continues the new prefix, or both fork at the first bit in which they differ.
    let fork = below.bits.common(bits).min(below.len).min(len);
    let mut node = Node { bits: bits.masked(fork), len: fork, peer: None, children: [None, None] };
    if fork == len {
        node.peer = Some(peer);
    } else {
        node.children[bits.bit(fork)] = Some(Node::leaf(bits, len, peer));
    }
    let side = below.bits.bit(fork);
    node.children[side] = Some(below);
    *link = Some(Arc::new(node));
    None
}

/// Removes a prefix that is known to be there, and every node that nothing needs any more.
fn remove<B: Bits>(link: &mut Link<B>, bits: B, len: u8) {
    let Some(node) = link.as_mut().map(Arc::make_mut) else { return };
    if node.len == len {
        node.peer = None;
    } else {
        remove(&mut node.children[bits.bit(node.len)], bits, len);
    }
    if node.peer.is_none() {
        match &mut node.children {
            [Some(_), Some(_)] => {}
            [child, None] | [None, child] => *link = child.take(),
        }
    }
}

#[cfg(test)]
#[path = "allowed_ips_tests.rs"]
mod tests;
