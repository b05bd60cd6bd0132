//! Where peers are, for who must tell them from strangers under load.
//!
//! A filter of two bytes a peer: 256 KiB for 100,000 of them. It is made when load begins. Control enters the peers in
//! pages while the workers ask already: who is not entered yet counts as a stranger. A peer that proves itself later is
//! entered where it is then. Of strangers, one in 400 passes for a peer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::whereabouts::hash;

/// Bits for each peer that was there when the filter was made.
const BITS_PER_PEER: usize = 16;
/// Bits for each peer at last: as many may come or move as were there. One stranger in 40 passes then.
const BITS_PER_PEER_LEAST: usize = 8;
/// Bits that one address sets.
const PROBES: usize = 4;
const PEERS_LEAST: usize = 1_024;

/// See the module. Control writes, any number of threads read.
pub(super) struct KnownPlaces {
    /// Nobody sees it, so nobody can make up an address that passes for a peer's.
    key: u64,
    bits: Box<[AtomicU64]>,
    entered: AtomicU64,
}

impl KnownPlaces {
    /// A filter with room for so many peers, and as many that come later. It knows nobody.
    pub fn new(peers: usize, key: u64) -> Self {
        let bits = (peers.max(PEERS_LEAST) * BITS_PER_PEER).next_power_of_two();
        Self { key, bits: (0..bits / 64).map(|_| AtomicU64::new(0)).collect(), entered: AtomicU64::new(0) }
    }

    /// A peer is here. Beyond the room nobody is entered: all would pass for peers.
    pub fn enter(&self, remote: SocketAddr) {
        let entered = self.entered.load(Ordering::Relaxed);
        if entered >= self.room() || self.contains(remote) {
            return;
        }
        self.entered.store(entered + 1, Ordering::Relaxed);
        for (word, bit) in self.probe(remote) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether a peer is here, most likely.
    pub fn contains(&self, remote: SocketAddr) -> bool {
        self.probe(remote).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn room(&self) -> u64 {
        (self.bits.len() * 64 / BITS_PER_PEER_LEAST) as u64
    }

    fn probe(&self, remote: SocketAddr) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let hash = hash(self.key, remote);
        // An odd step visits different bits.
        let (first, step) = (hash as u32, (hash >> 32) as u32 | 1);
        (0..PROBES as u32).map(move |n| {
            let bit = first.wrapping_add(n.wrapping_mul(step)) as usize;
            (&self.bits[(bit / 64) & (self.bits.len() - 1)], 1 << (bit % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n / 7), 1_000 + (n % 7) as u16))
    }

    fn strangers_that_pass(places: &KnownPlaces) -> usize {
        (10_000_000..10_100_000).filter(|&n| places.contains(address(n))).count()
    }

    #[test]
    fn peers_are_known_and_hardly_a_stranger_is() {
        let places = KnownPlaces::new(100_000, 7);
        (0..100_000).for_each(|n| places.enter(address(n)));
        assert!((0..100_000).all(|n| places.contains(address(n))));
        let passed = strangers_that_pass(&places);
        assert!(passed < 250, "{passed} of 100,000");
    }

    #[test]
    fn peers_that_move_about_never_make_everybody_a_peer() {
        let places = KnownPlaces::new(1_000, 7);
        (0..1_000_000).for_each(|n| places.enter(address(n)));
        assert!((0..1_000).all(|n| places.contains(address(n))));
        let passed = strangers_that_pass(&places);
        assert!(passed < 3_000, "{passed} of 100,000");
    }

    #[test]
    fn with_another_key_other_strangers_pass() {
        let [one, other] = [1, 2].map(|key| KnownPlaces::new(1, key));
        for places in [&one, &other] {
            (0..1_000).for_each(|n| places.enter(address(n)));
        }
        let passes =
            |places: &KnownPlaces| (1_000..200_000).filter(|&n| places.contains(address(n))).collect::<Vec<_>>();
        assert_ne!(passes(&one), passes(&other));
    }

    /// Two bytes for each, where a table of addresses took 42.
    #[test]
    fn a_million_peers_take_no_more_than_four_mebibytes() {
        let bytes = |peers| KnownPlaces::new(peers, 1).bits.len() * 8;
        assert_eq!((bytes(100_000), bytes(crate::constants::PEERS_MAX)), (256 << 10, 2 << 20));
        assert_eq!(bytes(crate::constants::PEERS_MAX + 1), 4 << 20);
    }
}
