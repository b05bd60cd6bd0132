//! How many handshake messages one source may send while the gateway is under load (WireGuard paper, section 5.3).
//!
//! Ask only after mac2 proved the source address and its port, so nobody can use up the tokens of others or fill the
//! tables.
//!
//! The paper limits addresses: 20 messages in a second, 5 at once. Behind one address there may be thousands of
//! clients, which two additions let through one after the other, whoever else is there.
//!
//! * A message that proves to be a peer's gives its token back ([`Limiter::repay`]). What is limited is the work for
//!   who has no key. Who has one is limited by it: to 50 initiations in a second, each newer than those before.
//! * A port has tokens as well, as many as one honest client needs. So the tokens of an address are not used up by one
//!   that sends as fast as it can. A token is taken of both or of none.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::constants::{
    LIMITER_PACKETS_BURST, LIMITER_PACKETS_PER_SECOND, LIMITER_PORT_PACKETS_BURST, LIMITER_PORT_PACKETS_PER_SECOND,
};
use crate::time::Time;

/// How often full buckets are looked for and forgotten.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);

/// Sources that a gateway remembers at once; 65,536 of them take some megabytes.
pub const LIMITER_SOURCES_MAX: usize = 1 << 16;

const ADDRESSES: Rate = Rate::new(LIMITER_PACKETS_PER_SECOND, LIMITER_PACKETS_BURST);
const PORTS: Rate = Rate::new(LIMITER_PORT_PACKETS_PER_SECOND, LIMITER_PORT_PACKETS_BURST);

const _: () = assert!(
    ADDRESSES.bucket_nanos <= COLLECT_INTERVAL.as_nanos() as u64,
    "an address that rests for an interval is forgotten, so the table does not fill up"
);

/// How fast tokens are earned, and how many are kept, in the nanoseconds that it takes to earn them.
#[derive(Clone, Copy)]
struct Rate {
    token_nanos: u64,
    bucket_nanos: u64,
}

/// Who shares a bucket. An IPv6 customer has a /64 at least, hence addresses without number.
///
/// The map is ordered, not hashed: a hash would need a random seed against chosen collisions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SourceNet {
    V4([u8; 4]),
    V6([u8; 8]),
}

struct Bucket {
    /// Credit in nanoseconds as of `updated`.
    nanos: u64,
    updated: Time,
}

/// Token buckets, one per IPv4 address and per IPv6 /64, and one per port of an address.
pub struct Limiter {
    addresses: BTreeMap<SourceNet, Bucket>,
    ports: BTreeMap<SocketAddr, Bucket>,
    sources_max: usize,
    collected: Time,
}

impl Limiter {
    /// A limiter that remembers up to `sources_max` sources; [`LIMITER_SOURCES_MAX`] is a good value.
    pub const fn new(sources_max: usize) -> Self {
        Self { addresses: BTreeMap::new(), ports: BTreeMap::new(), sources_max, collected: Time::ZERO }
    }

    /// Takes a token of the source if it has one. When the table is full, addresses that are not in it get nothing.
    pub fn allow(&mut self, now: Time, source: SocketAddr) -> bool {
        if now.since(self.collected) >= COLLECT_INTERVAL {
            self.collect(now);
        }
        let (net, port) = (SourceNet::from(source.ip()), SocketAddr::new(source.ip().to_canonical(), source.port()));
        if self.addresses.len() >= self.sources_max && !self.addresses.contains_key(&net) {
            return false;
        }
        // Only what is let through makes an entry, so this table grows no faster than handshakes are done. If it is
        // full all the same, ports that are not in it share the tokens of their address only.
        let has_port = self.ports.len() < self.sources_max || self.ports.contains_key(&port);
        let allowed = has_token(&self.addresses, &net, ADDRESSES, now)
            && (!has_port || has_token(&self.ports, &port, PORTS, now));
        if allowed {
            take(&mut self.addresses, net, ADDRESSES, now);
        }
        if allowed && has_port {
            take(&mut self.ports, port, PORTS, now);
        }
        allowed
    }

    /// Gives the token of an address back: what [`Limiter::allow`] let through was a peer's.
    pub fn repay(&mut self, source: IpAddr) {
        if let Some(bucket) = self.addresses.get_mut(&SourceNet::from(source)) {
            bucket.nanos = (bucket.nanos + ADDRESSES.token_nanos).min(ADDRESSES.bucket_nanos);
        }
    }

    /// Sources that are remembered now.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether no source is remembered.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ports.is_empty()
    }

    /// Forgets the sources whose bucket is full again.
    pub fn collect(&mut self, now: Time) {
        self.collected = now;
        self.addresses.retain(|_, bucket| bucket.credit(ADDRESSES, now) < ADDRESSES.bucket_nanos);
        self.ports.retain(|_, bucket| bucket.credit(PORTS, now) < PORTS.bucket_nanos);
    }
}

/// Whether a source has a token. One that is not remembered has all that a bucket holds.
fn has_token<K: Ord>(buckets: &BTreeMap<K, Bucket>, source: &K, rate: Rate, now: Time) -> bool {
    buckets.get(source).is_none_or(|bucket| bucket.credit(rate, now) >= rate.token_nanos)
}

/// Takes a token that is there.
fn take<K: Ord>(buckets: &mut BTreeMap<K, Bucket>, source: K, rate: Rate, now: Time) {
    let bucket = buckets.entry(source).or_insert(Bucket { nanos: rate.bucket_nanos, updated: now });
    bucket.nanos = bucket.credit(rate, now).saturating_sub(rate.token_nanos);
    bucket.updated = bucket.updated.max(now);
}

impl Rate {
    const fn new(per_second: u64, burst: u64) -> Self {
        let token_nanos = 1_000_000_000 / per_second;
        assert!(token_nanos * per_second == 1_000_000_000, "a token is a whole number of ns");
        Self { token_nanos, bucket_nanos: token_nanos * burst }
    }
}

impl Bucket {
    fn credit(&self, rate: Rate, now: Time) -> u64 {
        let earned = now.as_nanos().saturating_sub(self.updated.as_nanos());
        self.nanos.saturating_add(earned).min(rate.bucket_nanos)
    }
}

impl From<IpAddr> for SourceNet {
    fn from(source: IpAddr) -> Self {
        match source.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("sources", &self.addresses.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    const START: Time = Time::from_secs(100);

    fn v4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    fn v6(subnet: u16, host: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, subnet, host, 0, 0, host))
    }

    /// A port of an address, another one each time: that of a client that has not sent anything yet.
    fn fresh(address: IpAddr) -> SocketAddr {
        static PORT: AtomicU16 = AtomicU16::new(0);
        SocketAddr::new(address, PORT.fetch_add(1, Ordering::Relaxed))
    }

    /// How many of `n` messages at one instant pass.
    fn burst(limiter: &mut Limiter, now: Time, source: IpAddr, n: usize) -> usize {
        (0..n).filter(|_| limiter.allow(now, fresh(source))).count()
    }

    #[test]
    fn five_at_once_then_twenty_a_second() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        assert_eq!(burst(&mut limiter, START, v4(1), 100), 5);
        assert!(!limiter.allow(START + Duration::from_millis(49), fresh(v4(1))));
        assert!(limiter.allow(START + Duration::from_millis(50), fresh(v4(1))));
        assert!(!limiter.allow(START + Duration::from_millis(50), fresh(v4(1))));

        // One message each millisecond for ten seconds, from an empty bucket.
        let later = START + Duration::from_millis(50);
        let passed = (1..=10_000).filter(|&ms| limiter.allow(later + Duration::from_millis(ms), fresh(v4(1)))).count();
        assert_eq!(passed, 200);
    }

    #[test]
    fn a_rested_bucket_holds_no_more_than_the_burst() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        assert_eq!(burst(&mut limiter, START, v4(1), 3), 3);
        assert_eq!(burst(&mut limiter, START + Duration::from_secs(3600), v4(1), 100), 5);
    }

    #[test]
    fn ipv4_addresses_are_apart_and_ipv6_counts_by_64() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        assert_eq!(burst(&mut limiter, START, v4(1), 9), 5);
        assert_eq!(burst(&mut limiter, START, v4(2), 9), 5);
        let same_net = (0..100).filter(|&host| limiter.allow(START, fresh(v6(1, host)))).count();
        assert_eq!(same_net, 5);
        assert_eq!(burst(&mut limiter, START, v6(2, 0), 9), 5);
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        assert!(!limiter.allow(START, fresh(mapped)), "an IPv4 address in IPv6 clothes is the same source");
        assert_eq!(limiter.len(), 4);
    }

    #[test]
    fn full_buckets_are_forgotten_and_empty_ones_are_not() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        for last in 0..=255 {
            assert!(limiter.allow(START, fresh(v4(last))));
        }
        assert_eq!(burst(&mut limiter, START + Duration::from_millis(990), v6(1, 1), 9), 5);
        assert_eq!(limiter.len(), 257);
        assert!(
            !limiter.allow(START + Duration::from_millis(1_000), fresh(v6(1, 1))),
            "not refreshed by the collection"
        );
        assert_eq!(limiter.len(), 1);
        limiter.collect(START + Duration::from_secs(10));
        assert!(limiter.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_known_sources_keep_their_place() {
        let mut limiter = Limiter::new(10);
        let passed = (0..=255).filter(|&last| limiter.allow(START, fresh(v4(last)))).count();
        assert_eq!((passed, limiter.len()), (10, 10));
        assert!(limiter.allow(START, fresh(v4(3))), "known");
        assert!(!limiter.allow(START, fresh(v4(200))), "unknown");
        assert!(limiter.allow(START + Duration::from_secs(1), fresh(v4(200))), "there is room again");
    }

    #[test]
    fn a_million_sources_leave_the_table_at_its_bound() {
        let mut limiter = Limiter::new(1_000);
        for n in 0..1_000_000_u32 {
            let now = START + Duration::from_micros(u64::from(n) * 5);
            limiter.allow(now, fresh(IpAddr::V4(Ipv4Addr::from_bits(n))));
            assert!(limiter.len() <= 1_000);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        assert_eq!(burst(&mut limiter, START, v4(1), 9), 5);
        assert!(!limiter.allow(START - Duration::from_secs(1), fresh(v4(1))));
        assert!(!limiter.allow(START, fresh(v4(1))));
    }

    /// 2,000 clients behind one address, all at once: each is a peer.
    #[test]
    fn peers_behind_one_address_are_let_through_one_after_the_other() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        for port in 0..2_000 {
            assert!(limiter.allow(START, SocketAddr::new(v4(1), port)), "client {port}");
            limiter.repay(v4(1));
        }
        assert_eq!(burst(&mut limiter, START, v4(1), 9), 5, "and they leave no more than a full bucket");
    }

    /// Beside them somebody without a key sends 1,000 messages in a second from one port.
    #[test]
    fn who_floods_from_one_port_does_not_keep_its_neighbours_out() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        let mut flooded = 0;
        for ms in 0..5_000 {
            let now = START + Duration::from_millis(ms);
            flooded += usize::from(limiter.allow(now, SocketAddr::new(v4(1), 0)));
            // Each client comes once in five seconds.
            if ms % 5 < 2 {
                let port = 1 + (ms / 5 * 2 + ms % 5) as u16;
                assert!(limiter.allow(now, SocketAddr::new(v4(1), port)), "client {port}");
                limiter.repay(v4(1));
            }
        }
        assert!(flooded <= 10, "{flooded} messages of the flood");
    }

    /// Without a key, many ports are no more than one.
    #[test]
    fn many_ports_of_an_address_share_its_tokens() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        let send = |limiter: &mut Limiter, ms| burst(limiter, START + Duration::from_millis(ms), v4(1), 10);
        let passed: usize = (0..1_000).map(|ms| send(&mut limiter, ms)).sum();
        assert_eq!(passed, 5 + 19);
    }

    #[test]
    fn a_port_has_as_many_tokens_as_an_honest_client_needs() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        let port = SocketAddr::new(v4(1), 51_820);
        let mut passed = 0;
        for second in 0..60 {
            for _ in 0..10 {
                let allowed = limiter.allow(START + Duration::from_secs(second), port);
                passed += usize::from(allowed);
                if allowed {
                    limiter.repay(v4(1));
                }
            }
        }
        assert_eq!(passed, 2 + 59);
        let mapped = SocketAddr::new(IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()), 51_820);
        assert!(!limiter.allow(START + Duration::from_secs(59), mapped), "the same port");
    }

    #[test]
    fn what_is_repaid_to_nobody_is_nothing() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        limiter.repay(v4(1));
        assert!(limiter.is_empty());
    }
}
