//! How many handshake messages one source may send while the gateway is under load (WireGuard paper, section 5.3).
//!
//! Ask only after mac2 proved the source address, so nobody can use up the tokens of others or fill the table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::constants::{LIMITER_PACKETS_BURST, LIMITER_PACKETS_PER_SECOND};
use crate::time::Time;

/// A token, in the nanoseconds that it takes to earn it.
const TOKEN_NANOS: u64 = 1_000_000_000 / LIMITER_PACKETS_PER_SECOND;
const BUCKET_NANOS_MAX: u64 = TOKEN_NANOS * LIMITER_PACKETS_BURST;
/// How often full buckets are looked for and forgotten.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);

/// Sources that a gateway remembers at once; 65,536 of them take some megabytes.
pub const LIMITER_SOURCES_MAX: usize = 1 << 16;

const _: () = assert!(TOKEN_NANOS * LIMITER_PACKETS_PER_SECOND == 1_000_000_000, "a token is a whole number of ns");
const _: () = assert!(
    BUCKET_NANOS_MAX <= COLLECT_INTERVAL.as_nanos() as u64,
    "a bucket that rests for an interval is full, so that forgetting it changes nothing"
);

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

/// Token buckets, one per IPv4 address and per IPv6 /64: 20 messages per second, 5 at once.
pub struct Limiter {
    buckets: BTreeMap<SourceNet, Bucket>,
    sources_max: usize,
    collected: Time,
}

impl Limiter {
    /// A limiter that remembers up to `sources_max` sources; [`LIMITER_SOURCES_MAX`] is a good value.
    pub const fn new(sources_max: usize) -> Self {
        Self { buckets: BTreeMap::new(), sources_max, collected: Time::ZERO }
    }

    /// Takes a token of the source if it has one. When the table is full, sources that are not in it get nothing.
    pub fn allow(&mut self, now: Time, source: IpAddr) -> bool {
        if now.since(self.collected) >= COLLECT_INTERVAL {
            self.collect(now);
        }
        let net = SourceNet::from(source);
        if let Some(bucket) = self.buckets.get_mut(&net) {
            return bucket.take(now);
        }
        if self.buckets.len() >= self.sources_max {
            return false;
        }
        self.buckets.insert(net, Bucket { nanos: BUCKET_NANOS_MAX - TOKEN_NANOS, updated: now });
        true
    }

    /// Sources that are remembered now.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether no source is remembered.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Forgets the sources whose bucket is full again.
    pub fn collect(&mut self, now: Time) {
        self.collected = now;
        self.buckets.retain(|_, bucket| bucket.credit(now) < BUCKET_NANOS_MAX);
    }
}

impl Bucket {
    fn credit(&self, now: Time) -> u64 {
        let earned = now.as_nanos().saturating_sub(self.updated.as_nanos());
        self.nanos.saturating_add(earned).min(BUCKET_NANOS_MAX)
    }

    fn take(&mut self, now: Time) -> bool {
        let credit = self.credit(now);
        let taken = credit >= TOKEN_NANOS;
        self.nanos = if taken { credit - TOKEN_NANOS } else { credit };
        self.updated = self.updated.max(now);
        taken
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
        f.debug_struct("Limiter").field("sources", &self.buckets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const START: Time = Time::from_secs(100);

    fn v4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    fn v6(subnet: u16, host: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, subnet, host, 0, 0, host))
    }

    /// How many of `n` messages at one instant pass.
    fn burst(limiter: &mut Limiter, now: Time, source: IpAddr, n: usize) -> usize {
        (0..n).filter(|_| limiter.allow(now, source)).count()
    }

    #[test]
    fn five_at_once_then_twenty_a_second() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        assert_eq!(burst(&mut limiter, START, v4(1), 100), 5);
        assert!(!limiter.allow(START + Duration::from_millis(49), v4(1)));
        assert!(limiter.allow(START + Duration::from_millis(50), v4(1)));
        assert!(!limiter.allow(START + Duration::from_millis(50), v4(1)));

        // One message each millisecond for ten seconds, from an empty bucket.
        let later = START + Duration::from_millis(50);
        let passed = (1..=10_000).filter(|&ms| limiter.allow(later + Duration::from_millis(ms), v4(1))).count();
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
        let same_net = (0..100).filter(|&host| limiter.allow(START, v6(1, host))).count();
        assert_eq!(same_net, 5);
        assert_eq!(burst(&mut limiter, START, v6(2, 0), 9), 5);
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        assert!(!limiter.allow(START, mapped), "an IPv4 address in IPv6 clothes is the same source");
        assert_eq!(limiter.len(), 4);
    }

    #[test]
    fn full_buckets_are_forgotten_and_empty_ones_are_not() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        for last in 0..=255 {
            assert!(limiter.allow(START, v4(last)));
        }
        assert_eq!(burst(&mut limiter, START + Duration::from_millis(990), v6(1, 1), 9), 5);
        assert_eq!(limiter.len(), 257);
        assert!(!limiter.allow(START + Duration::from_millis(1_000), v6(1, 1)), "not refreshed by the collection");
        assert_eq!(limiter.len(), 1);
        limiter.collect(START + Duration::from_secs(10));
        assert!(limiter.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_known_sources_keep_their_place() {
        let mut limiter = Limiter::new(10);
        let passed = (0..=255).filter(|&last| limiter.allow(START, v4(last))).count();
        assert_eq!((passed, limiter.len()), (10, 10));
        assert!(limiter.allow(START, v4(3)), "known");
        assert!(!limiter.allow(START, v4(200)), "unknown");
        assert!(limiter.allow(START + Duration::from_secs(1), v4(200)), "there is room again");
    }

    #[test]
    fn a_million_sources_leave_the_table_at_its_bound() {
        let mut limiter = Limiter::new(1_000);
        for n in 0..1_000_000_u32 {
            let now = START + Duration::from_micros(u64::from(n) * 5);
            limiter.allow(now, IpAddr::V4(Ipv4Addr::from_bits(n)));
            assert!(limiter.len() <= 1_000);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut limiter = Limiter::new(LIMITER_SOURCES_MAX);
        assert_eq!(burst(&mut limiter, START, v4(1), 9), 5);
        assert!(!limiter.allow(START - Duration::from_secs(1), v4(1)));
        assert!(!limiter.allow(START, v4(1)));
    }
}
