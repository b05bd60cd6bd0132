//! What goes with one cookie secret: the first half of its replies' nonces, where peers are, who was answered lately,
//! how much each source may ask for, and how much is believed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Proof;
use super::known_places::KnownPlaces;
use super::sources::Sources;
use crate::cookie::{COOKIE_NONCE_LEN, CookieNonce};
use crate::time::Time;
use crate::whereabouts::hash;

/// Addresses among which [`Answered`] tells apart: 64 KiB.
const PLACES: usize = 1 << 14;
/// For so long an address was answered lately. Who has sent an honest message sends the next after 5 s.
const LATELY_MS: u32 = 1_000;

/// Messages that all workers together believe in a second. Control computes sixteen times as many handshakes, so forged
/// places cost 2 % of a core.
const BELIEVED_PER_SECOND: u64 = 250;
const BELIEVED_NANOS: u64 = 1_000_000_000 / BELIEVED_PER_SECOND;
/// As many at once as control may find waiting without load.
const BELIEVED_AT_ONCE: u64 = 64;

/// See the module.
pub(crate) struct Answered {
    /// Everybody who gets a cookie sees it.
    seed: [u8; COOKIE_NONCE_LEN - 8],
    /// Nobody sees it.
    key: u64,
    known: KnownPlaces,
    sources: Sources,
    /// When the last address of each place was answered, in milliseconds, and 0 for never.
    when: Box<[AtomicU32]>,
    /// Until when what was believed is paid for, in nanoseconds of [`Time`].
    believed: AtomicU64,
    /// When the last message of each place was believed, as `when`. Strangers who get cookies leave no trace here.
    believed_when: Box<[AtomicU32]>,
}

impl Answered {
    /// Nobody was answered, and of the peers nobody is known. `seed` and `key` were just drawn, each by itself.
    pub fn new(seed: [u8; COOKIE_NONCE_LEN - 8], key: u64, peers: usize, now: Time) -> Self {
        let [when, believed_when] = [(); 2].map(|()| (0..PLACES).map(|_| AtomicU32::new(0)).collect());
        let (known, sources) = (KnownPlaces::new(peers, key), Sources::new(now, key));
        Self { seed, key, known, sources, when, believed: AtomicU64::new(0), believed_when }
    }

    /// A peer is here, as far as control knows.
    pub fn locate(&self, remote: SocketAddr) {
        self.known.enter(remote);
    }

    /// A message that [`Answered::take`] let through with this proof was a peer's.
    pub fn repay(&self, source: IpAddr, proof: Proof) {
        self.sources.repay(source, proof);
    }

    /// Whether a peer is here, most likely.
    pub(super) fn is_peers(&self, remote: SocketAddr) -> bool {
        self.known.contains(remote)
    }

    /// Whether a message without proof is let through, since it claims to come from where a peer is: one of each place
    /// in a second, and few in all. Who forges many places leaves the others to prove theirs.
    pub(super) fn believes(&self, now: Time, remote: SocketAddr) -> bool {
        let now_ns = now.as_nanos();
        let next = |paid: u64| Some(paid.max(now_ns) + BELIEVED_NANOS);
        let affordable = |paid| next(paid).filter(|&next| next - now_ns <= BELIEVED_AT_ONCE * BELIEVED_NANOS);
        self.is_peers(remote)
            && affordable(self.believed.load(Ordering::Relaxed)).is_some()
            && self.is_first_in(&self.believed_when, now, remote)
            && self.believed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, affordable).is_ok()
    }

    /// Takes a token of a source that has proved its address, if there is one.
    pub(super) fn take(&self, now: Time, remote: SocketAddr) -> Option<Proof> {
        self.sources.take(now, remote, &self.known)
    }

    /// No nonce comes twice: 128 random bits tell this secret from all others, one byte the worker from the others, and
    /// 56 bits this reply from the worker's others. A worker that makes a million replies a second needs 2,000 years.
    pub(super) fn nonce(&self, worker: u8, count: u64) -> CookieNonce {
        let mut nonce = [0; COOKIE_NONCE_LEN];
        let (seed, end) = nonce.split_at_mut(self.seed.len());
        seed.copy_from_slice(&self.seed);
        end.copy_from_slice(&(count << 8 | u64::from(worker)).to_le_bytes());
        nonce
    }

    pub(super) fn is_first(&self, now: Time, remote: SocketAddr) -> bool {
        self.is_first_in(&self.when, now, remote)
    }

    fn is_first_in(&self, when: &[AtomicU32], now: Time, remote: SocketAddr) -> bool {
        let now_ms = ((now.as_nanos() / 1_000_000) as u32).max(1);
        let last = &when[self.place(remote)];
        // Two workers that ask for one place at once may both answer: nothing is lost by that.
        let lately = last.load(Ordering::Relaxed);
        let is_first = lately == 0 || now_ms.wrapping_sub(lately) >= LATELY_MS;
        if is_first {
            last.store(now_ms, Ordering::Relaxed);
        }
        is_first
    }

    /// Which place an address has, nobody can tell who does not know the key.
    pub(super) fn place(&self, remote: SocketAddr) -> usize {
        hash(self.key, remote) as usize % PLACES
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").finish_non_exhaustive()
    }
}
