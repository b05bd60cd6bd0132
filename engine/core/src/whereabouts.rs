//! Who was last reached where: what a gateway needs to recover sessions that it has lost.
//!
//! A gateway that was started anew knows no session, but its peers still send under theirs. Such data cannot be opened,
//! so it proves nothing. If it comes from where a peer was last, it is reason enough to ask that peer for a session. A
//! worker finds the peer in [`Whereabouts`], and tells control at most once in Rekey-Timeout ([`LostSession`]).
//!
//! The table is written by control, and read by all workers without a lock. It only suggests: an entry may be old, or
//! of two addresses with one tag. The peer's own cell says where it is ([`PeerShared::endpoint`]).
//!
//! [`PeerShared::endpoint`]: crate::cell::PeerShared::endpoint

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::constants::REKEY_TIMEOUT;
use crate::marks;
use crate::time::Time;

/// Places that are looked at for one address.
const PROBES: usize = 16;
/// Places for each entry. Most addresses of strangers then meet an empty place at once.
const PLACES_PER_ENTRY: usize = 4;
const PLACES_MIN: usize = 64;
/// Bits of the filter for each place: one in 16 strangers gets past it, and it is small enough for a core's own cache.
const FILTER_BITS_PER_PLACE: usize = 4;
/// A place has the index of a peer, plus one, in its lower bits, and a part of its address's hash above. 0 is empty.
const INDEX_BITS: u32 = 21;

/// Bits of a tag that choose the bit in the filter: as many as the largest filter has.
const FILTER_HASH_BITS: u32 = 26;

const _: () = assert!(
    2 * Whereabouts::room_for(crate::constants::PEERS_MAX).next_power_of_two()
        * PLACES_PER_ENTRY
        * FILTER_BITS_PER_PLACE
        <= 1 << FILTER_HASH_BITS,
    "each bit of the filter can be chosen"
);
const _: () = assert!(crate::constants::PEERS_MAX < 1 << INDEX_BITS, "an index fits beside its tag");

/// Peers by the address and port that they were last reached at, as long as lost sessions are recovered.
///
/// The hash has no secret. Strangers choose what is looked up, and each look-up has a bound. What is stored is chosen
/// by the operator and by authenticated peers. What is found is then compared with the peer's cell.
pub struct Whereabouts {
    /// A bit for each hash that is entered: whoever has none is a stranger.
    filter: Box<[AtomicU64]>,
    places: Box<[AtomicU64]>,
    /// Nanoseconds of [`Time`].
    until: AtomicU64,
    /// Until then a peer may have a session that nobody has here, although it has one here as well. Nanoseconds.
    doubts_until: AtomicU64,
}

impl Whereabouts {
    /// For how many entries there should be room if there are so many peers. Entries stay where peers have moved away,
    /// so some more must fit before another table is made.
    pub const fn room_for(peers: usize) -> usize {
        peers + peers / 4 + 64
    }

    /// A table with room for so many peers, in force until a time.
    pub fn new(peers: usize, until: Time) -> Self {
        let places = (peers * PLACES_PER_ENTRY).next_power_of_two().max(PLACES_MIN);
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let filter = zeros(places * FILTER_BITS_PER_PLACE / 64);
        let (until, doubts_until) = (AtomicU64::new(until.as_nanos()), AtomicU64::new(0));
        Self { filter, places: zeros(places), until, doubts_until }
    }

    /// For how many peers it has room.
    pub fn room(&self) -> usize {
        self.places.len() / PLACES_PER_ENTRY
    }

    /// Whether a peer is entered at this address.
    pub fn holds(&self, remote: SocketAddr, index: u32) -> bool {
        let tag = tag(remote);
        self.probe(tag).any(|place| place.load(Ordering::Relaxed) == entry(tag, index))
    }

    /// Enters a peer by its slot. False: there is no place near its own. Only control writes.
    pub fn enter(&self, remote: SocketAddr, index: u32) -> bool {
        let tag = tag(remote);
        let entry = entry(tag, index);
        for place in self.probe(tag) {
            match place.load(Ordering::Relaxed) {
                0 => {
                    place.store(entry, Ordering::Relaxed);
                    let (word, bit) = self.filter(tag);
                    word.fetch_or(bit, Ordering::Relaxed);
                    return true;
                }
                present if present == entry => return true,
                _ => {}
            }
        }
        false
    }

    /// The slots of peers that may be at this address, after `until` nobody's.
    pub fn find(&self, now: Time, remote: SocketAddr) -> impl Iterator<Item = u32> {
        let tag = tag(remote);
        let (word, bit) = self.filter(tag);
        let is_candidate = now < self.until() && word.load(Ordering::Relaxed) & bit != 0;
        let probes = if is_candidate { PROBES } else { 0 };
        let entries = self.probe(tag).take(probes).map(|place| place.load(Ordering::Relaxed));
        let entries = entries.take_while(|&entry| entry != 0).filter(move |entry| entry >> INDEX_BITS == tag);
        entries.map(|entry| ((entry & ((1 << INDEX_BITS) - 1)) - 1) as u32)
    }

    /// Until when it is in force.
    pub fn until(&self) -> Time {
        Time(self.until.load(Ordering::Relaxed))
    }

    /// Keeps it in force until another time.
    pub fn set_until(&self, until: Time) {
        self.until.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// Whether a peer that has a session here may have a newer one with another gateway.
    pub fn doubts_sessions(&self, now: Time) -> bool {
        now.as_nanos() < self.doubts_until.load(Ordering::Relaxed)
    }

    /// That may be until then.
    pub fn doubt_sessions_until(&self, until: Time) {
        self.doubts_until.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// The bit of a tag. Its lower bits choose the place, so the bit is chosen by the upper ones.
    fn filter(&self, tag: u64) -> (&AtomicU64, u64) {
        let hash = tag >> (64 - INDEX_BITS - FILTER_HASH_BITS);
        (&self.filter[(hash >> 6) as usize & (self.filter.len() - 1)], 1 << (hash & 63))
    }

    fn probe(&self, tag: u64) -> impl Iterator<Item = &AtomicU64> {
        let mask = self.places.len() - 1;
        (0..PROBES).map(move |n| &self.places[(tag as usize + n) & mask])
    }
}

impl fmt::Debug for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whereabouts").field("room", &self.room()).field("until", &self.until()).finish_non_exhaustive()
    }
}

/// What a place has of a peer.
fn entry(tag: u64, index: u32) -> u64 {
    tag << INDEX_BITS | (u64::from(index) + 1)
}

/// The part of an address's hash that a place has room for.
fn tag(remote: SocketAddr) -> u64 {
    hash(0x243f_6a88_85a3_08d3, remote) >> INDEX_BITS
}

/// A hash of where somebody is, which nobody can tell who does not know the key. The flow label is not part of it.
pub(crate) fn hash(key: u64, remote: SocketAddr) -> u64 {
    let (high, low) = match remote.ip() {
        IpAddr::V4(v4) => (0, u64::from(v4.to_bits())),
        IpAddr::V6(v6) => ((v6.to_bits() >> 64) as u64, v6.to_bits() as u64),
    };
    let scope = if let SocketAddr::V6(v6) = remote { v6.scope_id() } else { 0 };
    let port = u64::from(scope) << 16 | u64::from(remote.port());
    mix(mix(mix(key, high), low), port)
}

/// Folds a product of 128 bits: each bit of both depends on many of the other.
const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ b) as u128 * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// When workers may tell control next that a peer sends under a session that nobody has.
#[derive(Debug, Default)]
pub struct LostSession(AtomicU64);

impl LostSession {
    /// True for one of all workers, once in Rekey-Timeout: it has to tell control. If that is impossible, call
    /// [`LostSession::untold`].
    #[must_use = "control has to be told"]
    pub fn tell(&self, now: Time) -> bool {
        marks::pass(&self.0, now.as_nanos(), (now + REKEY_TIMEOUT).as_nanos())
    }

    /// Control has asked the peer for a session just now.
    pub fn asked(&self, now: Time) {
        self.0.store((now + REKEY_TIMEOUT).as_nanos(), Ordering::Relaxed);
    }

    /// When control may be told next.
    pub(crate) fn due(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }

    /// So another process has it.
    pub(crate) fn resume(&self, due: Time) {
        self.0.store(due.as_nanos(), Ordering::Relaxed);
    }

    /// Control was not told, or can do nothing now: the next datagram tells it.
    pub fn untold(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Whether a peer's endpoint has changed since control last asked. One for all peers.
#[derive(Debug, Default)]
pub struct Moves {
    any: AtomicBool,
    /// Somebody wants to know whose.
    watched: AtomicBool,
    /// Somebody wanted to, and control could not be told.
    missed: AtomicBool,
}

impl Moves {
    /// An endpoint has just changed. True: nobody has said so since control last asked, and control may be asleep.
    pub fn note(&self) -> bool {
        marks::publish(&self.any)
    }

    /// Whether an endpoint has changed since this was last asked. What is read afterwards is as new as the answer.
    pub fn take(&self) -> bool {
        marks::take(&self.any)
    }

    /// From now on control is told of each peer that moves, or not.
    pub fn watch(&self, is_watched: bool) {
        self.watched.store(is_watched, Ordering::Release);
    }

    /// Whether control was not told of some peer that has moved, since this was last asked.
    pub fn take_missed(&self) -> bool {
        marks::take(&self.missed)
    }
}

/// Whether control has to be told that one peer has moved, while somebody watches.
#[derive(Debug, Default)]
pub struct Move(AtomicBool);

impl Move {
    /// The peer has just moved. True: control does not know, and somebody watches.
    pub fn note(&self, moves: &Moves) -> bool {
        moves.watched.load(Ordering::Acquire) && marks::publish(&self.0)
    }

    /// Control was not told: there was no room. It looks at all peers.
    pub fn untold(&self, moves: &Moves) {
        marks::take(&self.0);
        if moves.watched.load(Ordering::Acquire) {
            moves.missed.store(true, Ordering::Release);
        }
    }

    /// Control has heard of it. What it reads afterwards is as new as that.
    pub fn heard(&self) {
        marks::take(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(100);
    const LATER: Time = Time::from_secs(280);

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n / 7), 1_000 + (n % 7) as u16))
    }

    fn found(table: &Whereabouts, remote: SocketAddr) -> Vec<u32> {
        table.find(NOW, remote).collect()
    }

    #[test]
    fn peers_are_found_by_address_and_port_and_strangers_are_not() {
        const PEERS: u32 = 100_000;
        let table = Whereabouts::new(PEERS as usize, LATER);
        for n in 0..PEERS {
            assert!(table.enter(address(n), n), "there is a place for number {n}");
        }
        for n in 0..PEERS {
            assert!(found(&table, address(n)).contains(&n), "{n}");
        }
        let strangers = (PEERS..10 * PEERS).filter(|&n| !found(&table, address(n)).is_empty()).count();
        assert_eq!(strangers, 0, "43 bits tell them apart");
    }

    #[test]
    fn one_address_may_be_several_peers_but_not_without_number() {
        let table = Whereabouts::new(1_000, LATER);
        let remote = "[2001:db8::1%7]:9".parse().unwrap();
        let entered = (0..100).filter(|&n| table.enter(remote, n)).count();
        assert_eq!(entered, PROBES);
        assert!(table.enter(remote, 3), "it is there already");
        assert!(table.holds(remote, 3) && !table.holds(remote, 99));
        assert_eq!(found(&table, remote), (0..PROBES as u32).collect::<Vec<_>>());
        assert!(found(&table, "[2001:db8::1%8]:9".parse().unwrap()).is_empty(), "another link");
    }

    #[test]
    fn with_another_key_an_address_has_another_hash() {
        let same = (0..1_000).filter(|&n| hash(1, address(n)) == hash(2, address(n))).count();
        assert_eq!(same, 0);
    }

    #[test]
    fn after_its_time_it_knows_nobody() {
        let table = Whereabouts::new(1, LATER);
        assert!(table.enter(address(1), u32::MAX >> 12));
        assert_eq!(found(&table, address(1)), [u32::MAX >> 12]);
        assert_eq!(table.find(LATER, address(1)).count(), 0);
        table.set_until(LATER + REKEY_TIMEOUT);
        assert_eq!(table.find(LATER, address(1)).count(), 1);
    }

    #[test]
    fn control_is_told_once_in_rekey_timeout() {
        let lost = LostSession::default();
        assert!(lost.tell(NOW) && !lost.tell(NOW));
        assert!(!lost.tell(NOW + REKEY_TIMEOUT - std::time::Duration::from_nanos(1)));
        assert!(lost.tell(NOW + REKEY_TIMEOUT));
        lost.untold();
        assert!(lost.tell(NOW + REKEY_TIMEOUT));
    }

    #[test]
    fn a_move_is_told_once_until_control_has_asked() {
        let moves = Moves::default();
        assert!(!moves.take());
        assert!(moves.note() && !moves.note());
        assert!(moves.take() && !moves.take());
        assert!(moves.note());
    }

    #[test]
    fn whose_move_it_is_is_told_while_somebody_watches() {
        let (moves, one, other) = (Moves::default(), Move::default(), Move::default());
        assert!(!one.note(&moves), "nobody watches");
        moves.watch(true);
        assert!(one.note(&moves) && !one.note(&moves) && other.note(&moves));
        one.heard();
        assert!(one.note(&moves), "it has moved again");
        assert!(!moves.take_missed());
        one.untold(&moves);
        assert!(moves.take_missed() && !moves.take_missed());
        assert!(one.note(&moves));
        moves.watch(false);
        other.untold(&moves);
        assert!(!moves.take_missed(), "nobody wants to know");
    }
}
