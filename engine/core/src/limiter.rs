//! How many handshake messages one source may send while the gateway is under load (WireGuard paper, section 5.3).
//!
//! Ask only after mac2 proved the source address, so that nobody can use up the tokens of others or fill the table.

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
