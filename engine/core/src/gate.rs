//! What is asked of a handshake message where it lands, before anybody works for it (WireGuard paper, section 5.3).
//!
//! ```text
//!   datagram ─► mac1 right? ─► answers something? ─► under load? ─► mac2 right? ─► control
//!                  │                  │                                 │
//!                  ▼                  ▼                                 ▼
//!               bad_mac1         unknown_index              a cookie, or cookie_budget
//! ```
//!
//! Control gives the workers a [`Gate`] when its private key changes, and another with each cookie secret. In a gate
//! two things change by themselves: the load, and which indices are in use.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use zerocopy::IntoBytes;

use crate::cookie::{COOKIE_NONCE_LEN, CookieChecker, CookieNonce};
use crate::drops::DropReason;
use crate::index_filter::IndexFilter;
use crate::time::Time;
use crate::whereabouts::Whereabouts;
use crate::wire::{CookieReply, Message, classify};

/// How long there is load after it was last seen, as in the kernel's `receive.c`.
pub const LOADED_FOR: Duration = Duration::from_secs(1);

/// Messages without proof, of all workers, that show within [`LOADED_FOR`] that the load goes on: half of the
/// handshakes that control computes in that time (3,616 on AMD Zen 3). With fewer it can do without proofs. Peers that
/// begin a session every two minutes without a cookie are fewer: 400 a second of 50,000. Where control is slower than
/// that, messages soon wait again, and that is load.
pub const LOADED_UNPROVEN: u32 = 1_800;

/// Until when handshake messages must prove their address: shared by control, which sees that there is too much work,
/// and the workers, which see that it goes on.
#[derive(Debug, Default)]
pub struct Load {
    /// Nanoseconds of [`Time`].
    until: AtomicU64,
    /// Messages without proof since the load was last noted.
    unproven: AtomicU32,
}

impl Load {
    /// There is more work than can be done now.
    pub fn note(&self, now: Time) {
        self.until.fetch_max((now + LOADED_FOR).as_nanos(), Ordering::Relaxed);
        self.unproven.store(0, Ordering::Relaxed);
    }

    /// Under load, another message had no proof. With [`LOADED_UNPROVEN`] of them there is load for another while.
    pub fn note_unproven(&self, now: Time) {
        // What another worker counts while this one begins anew may be lost: they are few.
        if self.unproven.fetch_add(1, Ordering::Relaxed) + 1 == LOADED_UNPROVEN {
            self.note(now);
        }
    }

    /// Whether there is load.
    pub fn is_on(&self, now: Time) -> bool {
        now < Time(self.until.load(Ordering::Relaxed))
    }
}

/// What the sender of a handshake message has shown before control sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing was asked: there was no gate.
    Unasked,
    /// It knows our public key. There was no load, or no secret to prove more with. If there is load when control gets
    /// to it, control asks for the rest.
    Key,
    /// It owns its address as well: there is load.
    Address,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is worth the work.
    Passed(Proof),
    /// It is dropped.
    Refused(DropReason),
    /// There is load, and its sender has no cookie. It says that it is known as `sender_index`.
    Unproven {
        /// For the reply.
        sender_index: u32,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    checker: CookieChecker,
    load: Arc<Load>,
    indices: Arc<IndexFilter>,
    answered: Option<Answered>,
}

impl Gate {
    /// A gate for the owner of the checker's key.
    pub(crate) fn new(
        checker: CookieChecker,
        load: Arc<Load>,
        indices: Arc<IndexFilter>,
        answered: Option<Answered>,
    ) -> Self {
        Self { checker, load, indices, answered }
    }

    /// Decides what becomes of a datagram that is not a data message.
    pub fn admit(&self, now: Time, remote: SocketAddr, datagram: &[u8]) -> Admission {
        let (sender, receiver) = match classify(datagram) {
            Ok(Message::Initiation(_, message)) => (Some(message.sender_index.get()), None),
            Ok(Message::Response(message)) => (Some(message.sender_index.get()), Some(message.receiver_index.get())),
            Ok(Message::CookieReply(message)) => (None, Some(message.receiver_index.get())),
            Ok(Message::Data(_)) => return Admission::Refused(DropReason::UnknownType),
            Err(reason) => return Admission::Refused(reason),
        };
        if sender.is_some() && !self.checker.verify_mac1(datagram) {
            return Admission::Refused(DropReason::BadMac1);
        }
        if receiver.is_some_and(|index| !self.indices.may_contain(index)) {
            return Admission::Refused(DropReason::UnknownIndex);
        }
        match sender {
            // A cookie reply has no macs: the index is all that its sender must know.
            None => Admission::Passed(Proof::Key),
            Some(_) if !self.asks_for_proof(now) => Admission::Passed(Proof::Key),
            Some(_) if self.checker.verify_mac2(now, remote, datagram) => Admission::Passed(Proof::Address),
            Some(sender_index) => Admission::Unproven { sender_index },
        }
    }

    /// Whether there is load, and a secret to make cookies from. Without one control gets the message, and makes one.
    fn asks_for_proof(&self, now: Time) -> bool {
        self.load.is_on(now) && self.answered.is_some() && self.checker.secret_valid(now)
    }

    /// A cookie for the sender of a message that [`Gate::admit`] found unproven. `worker` and `count` are a pair that
    /// was never given before to any gate of this process.
    pub fn reply(
        &self,
        remote: SocketAddr,
        datagram: &[u8],
        sender_index: u32,
        worker: u8,
        count: u64,
    ) -> Option<[u8; size_of::<CookieReply>()]> {
        let nonce = self.answered.as_ref()?.nonce(worker, count);
        let reply = self.checker.seal_reply(remote, datagram, sender_index, nonce).ok()?;
        reply.as_bytes().first_chunk().copied()
    }

    /// Whether a peer was there when the secret was made: who comes from where nobody knows may be one of many that do
    /// not exist.
    pub fn is_peers(&self, now: Time, remote: SocketAddr) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.places.find(now, remote).next().is_some())
    }

    /// Whether an address was not answered lately, as far as is known. From now on it was.
    pub fn is_first(&self, now: Time, remote: SocketAddr) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.is_first(now, remote))
    }

    /// The load, to be noted.
    pub fn load(&self) -> &Load {
        &self.load
    }
}

/// Addresses among which [`Answered`] tells apart: 64 KiB.
const PLACES: usize = 1 << 14;
/// For so long an address was answered lately. Who has sent an honest message sends the next after 5 s.
const LATELY_MS: u32 = 1_000;

/// What goes with one cookie secret: the first half of its replies' nonces, where peers are, and who was answered
/// lately.
pub(crate) struct Answered {
    /// Everybody who gets a cookie sees it.
    seed: [u8; COOKIE_NONCE_LEN - 8],
    /// Nobody sees it.
    key: u64,
    places: Whereabouts,
    /// When the last address of each place was answered, in milliseconds, and 0 for never.
    when: Box<[AtomicU32]>,
}

impl Answered {
    /// Nobody was answered. `seed` and `key` were just drawn, each by itself.
    pub(crate) fn new(seed: [u8; COOKIE_NONCE_LEN - 8], key: u64, places: Whereabouts) -> Self {
        Self { seed, key, places, when: (0..PLACES).map(|_| AtomicU32::new(0)).collect() }
    }

    /// No nonce comes twice: 128 random bits tell this secret from all others, one byte the worker from the others, and
    /// 56 bits this reply from the worker's others. A worker that makes a million replies a second needs 2,000 years.
    fn nonce(&self, worker: u8, count: u64) -> CookieNonce {
        let mut nonce = [0; COOKIE_NONCE_LEN];
        let (seed, end) = nonce.split_at_mut(self.seed.len());
        seed.copy_from_slice(&self.seed);
        end.copy_from_slice(&(count << 8 | u64::from(worker)).to_le_bytes());
        nonce
    }

    fn is_first(&self, now: Time, remote: SocketAddr) -> bool {
        let now_ms = ((now.as_nanos() / 1_000_000) as u32).max(1);
        let last = &self.when[self.place(remote)];
        // Two workers that ask for one place at once may both answer: nothing is lost by that.
        let lately = last.load(Ordering::Relaxed);
        let is_first = lately == 0 || now_ms.wrapping_sub(lately) >= LATELY_MS;
        if is_first {
            last.store(now_ms, Ordering::Relaxed);
        }
        is_first
    }

    /// Which place an address has, nobody can tell who does not know the key.
    fn place(&self, remote: SocketAddr) -> usize {
        let (high, low) = match remote.ip() {
            IpAddr::V4(v4) => (0, u64::from(v4.to_bits())),
            IpAddr::V6(v6) => ((v6.to_bits() >> 64) as u64, v6.to_bits() as u64),
        };
        mix(mix(mix(self.key, high), low), u64::from(remote.port())) as usize % PLACES
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").field("places", &self.places).finish_non_exhaustive()
    }
}

/// Folds a product of 128 bits: each bit of both depends on many of the other.
const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ b) as u128 * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
