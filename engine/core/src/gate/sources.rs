//! How many messages of one source go to control under load, asked where they land.
//!
//! Who proves its address can make control work for it, so each address has tokens: 20 in a second, as in the paper.
//! Control has the exact count ([`crate::limiter`]). This one stands in front of its queue, so who floods from an
//! address of his own fills none of it, and wakes nobody. It is shared by all workers, takes no lock and no memory, and
//! lasts as long as one cookie secret.
//!
//! Who shares what with whom:
//!
//! * A place where a peer is has tokens of its own, 20 in a second, and needs none of those below. So peers behind one
//!   address hardly limit each other.
//! * Some places pass for a peer's by chance: one in 400, and an IPv4 address has 65,536. So all places of an address
//!   that pass for peers' share 200 in a second as well. What turns out to be a peer's is given back.
//! * All other places of an IPv4 address or an IPv6 /64 share its tokens. Each has four in a second of its own as well.
//!   A token is taken of both or of none. So a flood from one port leaves most tokens to its
//!   neighbours. What turns out to be a peer's is given back.
//! * Tokens lie in cells, which are chosen by a hash that has a secret. Each source has two cells, and passes if one of
//!   them has a token. Who wants to use up those of another must own addresses that meet it twice, and does not know
//!   which. A thousand addresses that send 20 messages a second each hold both cells of one source in 300.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Proof;
use super::known_places::KnownPlaces;
use crate::constants::LIMITER_PACKETS_PER_SECOND;
use crate::time::Time;
use crate::whereabouts::hash;

/// Cells of one kind from which a source has one. There are twice as many: 128 KiB.
const CELLS: usize = 1 << 14;
/// Messages of an address that may wait for control at once: more than the paper's five, since what is a peer's gives
/// its token back only when control has got to it.
const ADDRESS_BURST: u32 = 64;
/// The same of one place of an address. More than control allows it, as those whose cells meet have these together.
const PORT_PER_SECOND: u64 = 4;
const PORT_BURST: u32 = 8;
/// The same of all places of an address that pass for peers'. As many peers may begin at once behind one address before
/// control has got to the first.
const KNOWN_PER_SECOND: u64 = 200;
const KNOWN_BURST: u32 = 2_048;

/// See the module.
pub(super) struct Sources {
    /// Nobody sees it.
    key: u64,
    born: Time,
    addresses: Buckets,
    ports: Buckets,
    /// One for each place where a peer is.
    peers: Buckets,
    /// One for all such places of an address.
    peers_addresses: Buckets,
}

/// Token buckets of one kind.
struct Buckets {
    /// When each is full again, in milliseconds since the birth of all.
    full_at: Box<[AtomicU32]>,
    token_ms: u32,
    burst: u32,
}

impl Sources {
    /// Nobody has sent anything. `key` is secret.
    pub fn new(now: Time, key: u64) -> Self {
        let addresses = || Buckets::new(LIMITER_PACKETS_PER_SECOND, ADDRESS_BURST);
        let ports = Buckets::new(PORT_PER_SECOND, PORT_BURST);
        let peers_addresses = Buckets::new(KNOWN_PER_SECOND, KNOWN_BURST);
        Self { key, born: now, addresses: addresses(), ports, peers: addresses(), peers_addresses }
    }

    /// Takes a token of a source that has proved its address, if there is one. What it then has shown says whose token
    /// that was.
    pub fn take(&self, now: Time, remote: SocketAddr, known: &KnownPlaces) -> Option<Proof> {
        let now_ms = self.millis(now);
        let port = hash(self.key, SocketAddr::new(remote.ip().to_canonical(), remote.port()));
        let address = self.address(remote.ip());
        let (ports, addresses, proof) = if known.contains(remote) {
            (&self.peers, &self.peers_addresses, Proof::Place)
        } else {
            (&self.ports, &self.addresses, Proof::Address)
        };
        let taken = ports.has_token(now_ms, port)
            && addresses.has_token(now_ms, address)
            && ports.take(now_ms, port)
            && addresses.take(now_ms, address);
        taken.then_some(proof)
    }

    /// Gives back the token of an address that was taken for this proof: what was let through was a peer's.
    pub fn repay(&self, source: IpAddr, proof: Proof) {
        match proof {
            Proof::Address => self.addresses.repay(self.address(source)),
            Proof::Place => self.peers_addresses.repay(self.address(source)),
            Proof::Unasked | Proof::Key | Proof::Claim => {}
        }
    }

    fn millis(&self, now: Time) -> u32 {
        u32::try_from(now.since(self.born).as_millis()).unwrap_or(u32::MAX / 2)
    }

    /// The hash of an IPv4 address, or of the 64 bits that an IPv6 customer has at least.
    fn address(&self, source: IpAddr) -> u64 {
        let net = match source.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
            v4 => v4,
        };
        hash(self.key, SocketAddr::new(net, 0))
    }
}

impl Buckets {
    fn new(per_second: u64, burst: u32) -> Self {
        let full_at = (0..2 * CELLS).map(|_| AtomicU32::new(0)).collect();
        Self { full_at, token_ms: (1_000 / per_second) as u32, burst }
    }

    fn cells(&self, hash: u64) -> [&AtomicU32; 2] {
        let (one, other) = (hash as usize % CELLS, (hash >> 32) as usize % CELLS);
        [&self.full_at[one], &self.full_at[CELLS + other]]
    }

    /// What a cell would be with one token less, if it has one.
    fn taken(&self, now_ms: u32, full_at: u32) -> Option<u32> {
        let next = full_at.max(now_ms).saturating_add(self.token_ms);
        (next - now_ms <= self.token_ms * self.burst).then_some(next)
    }

    fn has_token(&self, now_ms: u32, hash: u64) -> bool {
        self.cells(hash).iter().any(|cell| self.taken(now_ms, cell.load(Ordering::Relaxed)).is_some())
    }

    /// True: one of the cells had a token. Both of the two have one less, if they had any.
    fn take(&self, now_ms: u32, hash: u64) -> bool {
        let take = |cell: &AtomicU32| {
            cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| self.taken(now_ms, full_at)).is_ok()
        };
        let [one, other] = self.cells(hash).map(take);
        one || other
    }

    fn repay(&self, hash: u64) {
        for cell in self.cells(hash) {
            // Before its birth there is no time: a full bucket holds no more than it can.
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(full_at.saturating_sub(self.token_ms))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    const START: Time = Time::from_secs(100);

    fn v4(address: u32, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from_bits(0xc000_0200 + address), port))
    }

    impl Sources {
        fn allow(&self, now: Time, remote: SocketAddr, known: &KnownPlaces) -> bool {
            self.take(now, remote, known).is_some()
        }
    }

    fn nobody() -> KnownPlaces {
        KnownPlaces::new(1, 5)
    }

    fn sources() -> Sources {
        Sources::new(START, 0x1234_5678_9abc_def0)
    }

    /// How many messages pass in ten seconds in which one comes each millisecond.
    fn passed(sources: &Sources, known: &KnownPlaces, remote: impl Fn(u64) -> SocketAddr) -> usize {
        let at = |ms| START + Duration::from_millis(ms);
        (0..10_000).filter(|&ms| sources.allow(at(ms), remote(ms), known)).count()
    }

    #[test]
    fn an_address_has_twenty_a_second_and_a_port_has_four() {
        let many_ports = passed(&sources(), &nobody(), |ms| v4(1, ms as u16));
        assert!((ADDRESS_BURST as usize + 190..=ADDRESS_BURST as usize + 200).contains(&many_ports), "{many_ports}");
        assert_eq!(passed(&sources(), &nobody(), |_| v4(1, 9)), PORT_BURST as usize + 39);
    }

    #[test]
    fn a_network_of_64_bits_is_one_source_and_mapped_addresses_are_none_of_their_own() {
        let v6 = |ms: u64| SocketAddr::from((Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(ms)), ms as u16));
        let one = passed(&sources(), &nobody(), v6);
        assert!(one <= ADDRESS_BURST as usize + 200, "{one}");
        let others = passed(&sources(), &nobody(), |ms| {
            SocketAddr::from((Ipv6Addr::from_bits((0x2001_0db8_0000_0000 + u128::from(ms)) << 64), 9))
        });
        assert!(others > 9_900, "{others} of 10,000 networks");
        let both = sources();
        let mapped = |ms: u64| SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(), ms as u16));
        passed(&both, &nobody(), mapped);
        let late = START + Duration::from_millis(9_999);
        assert!(!both.allow(late, v4(1, 3), &nobody()), "the tokens of this address are used up");
    }

    /// He sends 1,000 messages a second from one port, and his neighbours one each.
    #[test]
    fn who_floods_from_one_port_leaves_the_tokens_of_its_address_to_its_neighbours() {
        let sources = sources();
        for ms in 0..10_000 {
            let now = START + Duration::from_millis(ms);
            sources.allow(now, v4(1, 0), &nobody());
            if ms % 100 == 0 {
                assert!(sources.allow(now, v4(1, 1 + (ms / 100) as u16), &nobody()), "{ms} ms");
            }
        }
    }

    #[test]
    fn peers_behind_an_address_need_none_of_its_tokens() {
        let (sources, known) = (sources(), KnownPlaces::new(2_000, 5));
        (0..2_000).for_each(|port| known.enter(v4(1, port)));
        passed(&sources, &known, |ms| v4(1, 10_000 + ms as u16));
        let now = START + Duration::from_millis(9_999);
        let allowed = (0..2_000).filter(|&port| sources.allow(now, v4(1, port), &known)).count();
        assert_eq!(allowed, 2_000);
        assert!(!sources.allow(now, v4(1, 60_000), &known));
    }

    /// Ports of one address that pass for peers', though all peers are elsewhere.
    fn by_chance() -> (KnownPlaces, Vec<u16>) {
        let known = KnownPlaces::new(1, 5);
        (0..1_000).for_each(|n| known.enter(v4(1 << 20 | n, 51_820)));
        let ports: Vec<u16> = (0..=u16::MAX).filter(|&port| known.contains(v4(1, port))).collect();
        assert!(ports.len() > 50, "{} ports", ports.len());
        (known, ports)
    }

    #[test]
    fn ports_that_pass_for_peers_by_chance_share_the_tokens_of_their_address() {
        let (known, ports) = by_chance();
        let by_one = passed(&sources(), &known, |ms| v4(1, ports[ms as usize % ports.len()]));
        let most = KNOWN_BURST as usize + 2_000;
        assert!((most - 10..=most).contains(&by_one), "{by_one} of 10,000");
    }

    #[test]
    fn what_was_a_peers_leaves_the_wide_limit_to_others() {
        let ((known, ports), sources) = (by_chance(), sources());
        for ms in 0..10_000 {
            let remote = v4(1, ports[ms as usize % ports.len()]);
            let proof = sources.take(START + Duration::from_millis(ms), remote, &known);
            assert_eq!(proof, Some(Proof::Place), "{ms} ms");
            sources.repay(remote.ip(), Proof::Place);
        }
    }

    #[test]
    fn what_came_from_a_peers_place_gives_strangers_nothing() {
        let ((known, ports), sources) = (by_chance(), sources());
        let strangers = || (0..10_000).filter(|&port| sources.allow(START, v4(1, port), &nobody())).count();
        assert_eq!(strangers(), ADDRESS_BURST as usize);
        for &port in &ports {
            assert_eq!(sources.take(START, v4(1, port), &known), Some(Proof::Place));
            sources.repay(v4(1, port).ip(), Proof::Place);
            sources.repay(v4(1, port).ip(), Proof::Key);
        }
        assert_eq!(strangers(), 0);
    }

    #[test]
    fn what_was_a_peers_gives_its_token_back_and_no_more_than_that() {
        let sources = sources();
        for port in 0..5_000 {
            assert!(sources.allow(START, v4(1, port), &nobody()), "{port}");
            sources.repay(v4(1, 0).ip(), Proof::Address);
        }
        (0..1_000).for_each(|_| sources.repay(v4(1, 0).ip(), Proof::Address));
        let left = (10_000..11_000).filter(|&port| sources.allow(START, v4(1, port), &nobody())).count();
        assert_eq!(left, ADDRESS_BURST as usize);
    }

    /// A thousand addresses use up all that they have. Others find their tokens all the same, peers before all.
    #[test]
    fn hostile_addresses_hardly_ever_use_up_those_of_others() {
        let (sources, known) = (sources(), KnownPlaces::new(10_000, 5));
        (0..10_000).for_each(|n| known.enter(v4(1 << 21 | n, 51_820)));
        for round in 0..200 {
            let now = START + Duration::from_millis(5 * round);
            (0..1_000).for_each(|n| _ = sources.allow(now, v4(n, round as u16), &known));
        }
        let now = START + Duration::from_millis(995);
        let left = (0..1_000).filter(|&n| sources.allow(now, v4(n, 9_999), &known)).count();
        assert!(left < 10, "{left} pass for peers, and the others have nothing left");
        let refused = |first: u32| (0..10_000).filter(|n| !sources.allow(now, v4(first | n, 51_820), &known)).count();
        let strangers = refused(1 << 20);
        assert!(strangers < 100, "{strangers} of 10,000");
        assert_eq!(refused(1 << 21), 0);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let sources = sources();
        assert_eq!((0..99).filter(|_| sources.allow(START, v4(1, 1), &nobody())).count(), PORT_BURST as usize);
        assert!(!sources.allow(START - Duration::from_secs(50), v4(1, 1), &nobody()));
    }
}
