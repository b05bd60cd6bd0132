//! The two halves of a session's key. Control makes them; a sending half is shared by all workers, a receiving half
//! belongs to one.
//!
//! Both are generic over the cipher's key type, because the core knows no cipher for data.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::constants::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_ON_RECEIVE_AFTER_TIME,
};
pub use crate::crypto::Key;
use crate::drops::Drop;
use crate::ids::PeerId;
use crate::replay::{Replay, ReplayWindow};
use crate::time::Time;

/// What a finished handshake yields (WireGuard paper, section 5.4.5).
#[derive(Debug)]
pub struct SessionKeys {
    /// The key under which we send.
    pub send: Key,
    /// The key under which the peer sends.
    pub receive: Key,
}

/// Why a session does not send any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendRefusal {
    /// Older than Reject-After-Time.
    #[error("the session is older than 180 s")]
    Expired,
    /// The counters that remain are fewer than asked for.
    #[error("the session has used its counters up")]
    Exhausted,
}

impl From<SendRefusal> for Drop {
    fn from(refusal: SendRefusal) -> Self {
        match refusal {
            SendRefusal::Expired => Self::ExpiredSession,
            SendRefusal::Exhausted => Self::CounterExhausted,
        }
    }
}

/// The sending half. Any worker may seal with it; the counter is all that they share.
pub struct SendSession<K> {
    key: K,
    remote_index: u32,
    local_index: u32,
    created: Time,
    initiator: bool,
    /// The next counter. On a cache line that changes with every train, hence read as rarely as possible.
    counter: AtomicU64,
}

impl<K> SendSession<K> {
    /// A session that has sent nothing.
    pub const fn new(key: K, local_index: u32, remote_index: u32, created: Time, initiator: bool) -> Self {
        Self { key, remote_index, local_index, created, initiator, counter: AtomicU64::new(0) }
    }

    /// The cipher's key.
    pub const fn key(&self) -> &K {
        &self.key
    }

    /// The index that our data messages carry.
    pub const fn remote_index(&self) -> u32 {
        self.remote_index
    }

    /// The index of the receiving half of the same session.
    pub const fn local_index(&self) -> u32 {
        self.local_index
    }

    /// When the session was made.
    pub const fn created(&self) -> Time {
        self.created
    }

    /// Whether we asked for the session.
    pub const fn initiator(&self) -> bool {
        self.initiator
    }

    /// Takes the counters from the returned one up to, not including, `n` above it. Nobody else gets any of them, and
    /// all of them are below Reject-After-Messages.
    ///
    /// # Errors
    /// [`SendRefusal`], and no counter is taken.
    pub fn reserve(&self, now: Time, n: u64) -> Result<u64, SendRefusal> {
        if now.since(self.created) >= REJECT_AFTER_TIME {
            return Err(SendRefusal::Expired);
        }
        // Relaxed is enough: uniqueness comes from the atomic itself, and the key was published before the session.
        self.counter
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                first.checked_add(n).filter(|&end| end <= REJECT_AFTER_MESSAGES)
            })
            .map_err(|_| SendRefusal::Exhausted)
    }

    /// Whether it is time to ask for a new session, as seen after sending: the initiator by age, both by count.
    pub fn wants_rekey(&self, now: Time) -> bool {
        self.initiator && now.since(self.created) >= REKEY_AFTER_TIME
            || self.counter.load(Ordering::Relaxed) >= REKEY_AFTER_MESSAGES
    }
}

impl<K> std::fmt::Debug for SendSession<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendSession")
            .field("remote_index", &self.remote_index)
            .field("local_index", &self.local_index)
            .field("created", &self.created)
            .field("initiator", &self.initiator)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

/// The receiving half, owned by the worker that its index names.
pub struct ReceiveSession<K> {
    key: K,
    peer: PeerId,
    local_index: u32,
    created: Time,
    initiator: bool,
    /// Whether the peer is known to have the key: from the start for the initiator, after the first data message for
    /// the responder.
    confirmed: bool,
    rekey_wanted: bool,
    window: ReplayWindow,
}

impl<K> ReceiveSession<K> {
    /// A session that has received nothing.
    pub const fn new(key: K, peer: PeerId, local_index: u32, created: Time, initiator: bool, confirmed: bool) -> Self {
        let window = ReplayWindow::new();
        Self { key, peer, local_index, created, initiator, confirmed, rekey_wanted: false, window }
    }

    /// The cipher's key.
    pub const fn key(&self) -> &K {
        &self.key
    }

    /// Whose session this is.
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// The index that the peer's data messages carry.
    pub const fn local_index(&self) -> u32 {
        self.local_index
    }

    /// When the session was made.
    pub const fn created(&self) -> Time {
        self.created
    }

    /// Whether we asked for the session.
    pub const fn initiator(&self) -> bool {
        self.initiator
    }

    /// Whether the session is younger than Reject-After-Time.
    pub fn usable(&self, now: Time) -> bool {
        now.since(self.created) < REJECT_AFTER_TIME
    }

    /// Marks a counter as received. Ask only after the tag verified.
    ///
    /// # Errors
    /// [`Replay`], and nothing changes.
    pub fn accept(&mut self, counter: u64) -> Result<(), Replay> {
        self.window.check_and_set(counter)
    }

    /// Notes that an authenticated data message came: the peer has the key. True the first time, when control must
    /// hear of it.
    pub const fn confirm(&mut self) -> bool {
        !std::mem::replace(&mut self.confirmed, true)
    }

    /// Whether it is the last moment to ask for a new session, as seen after receiving; only for the initiator, and
    /// true at most once.
    pub fn wants_rekey(&mut self, now: Time) -> bool {
        let due = self.initiator && !self.rekey_wanted && now.since(self.created) >= REKEY_ON_RECEIVE_AFTER_TIME;
        self.rekey_wanted |= due;
        due
    }
}

impl<K> std::fmt::Debug for ReceiveSession<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveSession")
            .field("peer", &self.peer)
            .field("local_index", &self.local_index)
            .field("created", &self.created)
            .field("initiator", &self.initiator)
            .field("confirmed", &self.confirmed)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
