//! What is asked of a handshake message where it lands, before anybody works for it (WireGuard paper, section 5.3).
//!
//! ```text
//!   datagram ─► answers something? ─► mac1 right? ─► under load? ─► mac2 right? ─► too many of one source? ─► control
//!                  │                      │                            │                  │
//!                  ▼                      ▼                            ▼                  ▼
//!            unknown_index             bad_mac1            a cookie, or cookie_budget  rate_limited
//! ```
//!
//! From where a peer is, a message passes without mac2 as well, once in a second and few in all: a peer that begins
//! again in a flood does not wait five seconds. Whoever forges such places gains little work of ours.
//!
//! Control gives the workers a [`Gate`] when its private key changes, and another with each cookie secret. Three things
//! in a gate change by themselves: the load, which indices are in use, and what is known of senders under load.

mod answered;
mod known_places;
mod sources;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use zerocopy::IntoBytes;

use crate::cookie::CookieChecker;
use crate::drops::DropReason;
use crate::index_filter::IndexFilter;
use crate::node::Node;
use crate::outpost::Outpost;
use crate::time::Time;
use crate::wire::{CookieReply, MAC_LEN, Message, classify};
pub(crate) use answered::Answered;

/// How long there is load after it was last seen, as in the kernel's `receive.c`.
pub const LOADED_FOR: Duration = Duration::from_secs(1);

/// Refused messages of all workers, without proof or too many of one source, that show within [`LOADED_FOR`] that the
/// load goes on: half of the handshakes that control computes in that time (3,616 on AMD Zen 3). With fewer it can do
/// without proofs. Peers that begin a session every two minutes without a cookie are fewer: 400 a second of 50,000.
/// Where control is slower than that, messages soon wait again, and that is load.
pub const LOADED_REFUSED: u32 = 1_800;

/// How often it is looked at how many were refused in front of the sockets, after load.
const ASKED_EVERY: Duration = Duration::from_millis(10);

/// Until when handshake messages must prove their address: shared by control, which sees that there is too much work,
/// and the workers, which see that it goes on.
#[derive(Debug, Default)]
pub struct Load {
    /// Nanoseconds of [`Time`].
    until: AtomicU64,
    /// Messages that were refused for the load since it was last noted.
    refused: AtomicU32,
    /// Who refuses some before they get here, and how many those were when the load was last noted.
    outpost: Option<Arc<dyn Outpost>>,
    refused_outside: AtomicU32,
    /// When it was last asked for that, in nanoseconds of [`Time`]: it has to look into one place for each worker.
    asked: AtomicU64,
}

impl Load {
    /// The same where somebody stands in front of the sockets.
    pub(crate) fn behind(outpost: Arc<dyn Outpost>) -> Self {
        Self { outpost: Some(outpost), ..Self::default() }
    }

    /// There is more work than can be done now.
    pub fn note(&self, now: Time) {
        self.until.fetch_max((now + LOADED_FOR).as_nanos(), Ordering::Relaxed);
        self.refused.store(0, Ordering::Relaxed);
        if let Some(outpost) = &self.outpost {
            self.refused_outside.store(outpost.refused(), Ordering::Relaxed);
            outpost.set_loaded_until(Time(self.until.load(Ordering::Relaxed)));
        }
    }

    /// Another message was refused that passes without load. With [`LOADED_REFUSED`] there is load for another while.
    pub fn note_refused(&self, now: Time) {
        // What another worker counts while this one begins anew may be lost: they are few.
        if self.refused.fetch_add(1, Ordering::Relaxed) + 1 == LOADED_REFUSED {
            self.note(now);
        }
    }

    /// Whether there is load.
    pub fn is_on(&self, now: Time) -> bool {
        let until = Time(self.until.load(Ordering::Relaxed));
        now < until || now.since(until) < LOADED_FOR && self.goes_on(now)
    }

    /// The load has just ended, and what comes passes again. If enough was refused, it has not ended.
    fn goes_on(&self, now: Time) -> bool {
        let Some(outpost) = &self.outpost else { return false };
        if now.since(Time(self.asked.load(Ordering::Relaxed))) < ASKED_EVERY {
            return false;
        }
        self.asked.store(now.as_nanos(), Ordering::Relaxed);
        let outside = outpost.refused().wrapping_sub(self.refused_outside.load(Ordering::Relaxed));
        let goes_on = outside.saturating_add(self.refused.load(Ordering::Relaxed)) >= LOADED_REFUSED;
        if goes_on {
            self.note(now);
        }
        goes_on
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
    /// The same, and a peer is there, most likely.
    Place,
    /// It knows our public key, and claims to come from where a peer is. That is not proved: few pass like this.
    Claim,
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
    /// Who chose them.
    node: Node,
    answered: Option<Arc<Answered>>,
}

impl Gate {
    /// A gate for the owner of the checker's key.
    pub(crate) fn new(
        checker: CookieChecker,
        load: Arc<Load>,
        (indices, node): (Arc<IndexFilter>, Node),
        answered: Option<Arc<Answered>>,
    ) -> Self {
        Self { checker, load, indices, node, answered }
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
        // A look at one byte comes before a hash.
        if let Some(index) = receiver.filter(|&index| !self.indices.may_contain(index)) {
            return Admission::Refused(self.node.unknown(index));
        }
        if sender.is_some() && !self.checker.verify_mac1(datagram) {
            return Admission::Refused(DropReason::BadMac1);
        }
        match sender {
            // A cookie reply has no macs: the index is all that its sender must know.
            None => Admission::Passed(Proof::Key),
            Some(_) if !self.asks_for_proof(now) => Admission::Passed(Proof::Key),
            Some(_) if self.checker.verify_mac2(now, remote, datagram) => self.limit(now, remote),
            Some(_) if claims_no_cookie(datagram) && self.believes(now, remote) => Admission::Passed(Proof::Claim),
            Some(sender_index) => Admission::Unproven { sender_index },
        }
    }

    /// The sender owns its address. It may have many of them, and control has other things to do.
    fn limit(&self, now: Time, remote: SocketAddr) -> Admission {
        let proof = self.answered.as_ref().map_or(Some(Proof::Address), |answered| answered.take(now, remote));
        if let Some(proof) = proof {
            return Admission::Passed(proof);
        }
        self.load.note_refused(now);
        Admission::Refused(DropReason::RateLimited)
    }

    /// Whether a message is let through for where it claims to come from.
    fn believes(&self, now: Time, remote: SocketAddr) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.believes(now, remote))
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

    /// Whether a peer was there when the secret was made, or has proved itself since: who comes from where nobody knows
    /// may be one of many that do not exist. For a moment after the secret was made, control is about to find out.
    pub fn is_peers(&self, remote: SocketAddr) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.is_peers(remote))
    }

    /// Whether an address was not answered lately, as far as is known. From now on it was.
    pub fn is_first(&self, now: Time, remote: SocketAddr) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.is_first(now, remote))
    }

    /// Whether somebody may have this receiver index. It is never denied of one that is in use.
    pub fn may_know(&self, index: u32) -> bool {
        self.indices.may_contain(index)
    }

    /// The load, to be noted.
    pub fn load(&self) -> &Load {
        &self.load
    }
}

/// Who has no cookie leaves mac2 zero. Filters in front of the sockets let pass what is not, so anybody may send any
/// number of that, and all beliefs would be theirs.
fn claims_no_cookie(message: &[u8]) -> bool {
    message.last_chunk() == Some(&[0; MAC_LEN])
}

#[cfg(test)]
mod tests;
