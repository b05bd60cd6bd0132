//! The two halves of a session's key. Control makes them; a sending half is shared by all workers, a receiving half
//! belongs to one.
//!
//! Both are generic over the cipher's key type, because the core knows no cipher for data.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::constants::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_ON_RECEIVE_AFTER_TIME,
    REKEY_SPREAD,
};
pub use crate::crypto::Key;
use crate::drops::DropReason;
use crate::part::parts;
use crate::replay::{Replay, ReplayWindow};
use crate::time::Time;

/// What a finished handshake yields (WireGuard paper, section 5.4.5).
#[derive(Clone, Debug)]
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

impl From<Replay> for DropReason {
    fn from(_: Replay) -> Self {
        Self::Replay
    }
}

/// The sending half. Any worker may seal with it; the counter is all that they share.
pub struct SendSession<K> {
    key: K,
    remote_index: u32,
    local_index: u32,
    created: Time,
    initiator: bool,
    rekey_after_time: Duration,
    rekey_after_messages: u64,
    /// The next counter. On a cache line that changes with every train, hence read as rarely as possible.
    counter: AtomicU64,
}

impl<K> SendSession<K> {
    /// A session that has sent nothing.
    pub const fn new(key: K, local_index: u32, remote_index: u32, created: Time, initiator: bool) -> Self {
        let (rekey_after_time, rekey_after_messages) = (rekey_after_time(local_index), REKEY_AFTER_MESSAGES);
        let counter = AtomicU64::new(0);
        Self { key, remote_index, local_index, created, initiator, rekey_after_time, rekey_after_messages, counter }
    }

    /// The same session, to be replaced after so many messages: what the key's cipher can bear, see
    /// [`Suite::rekey_after_messages`](crate::suite::Suite::rekey_after_messages).
    #[must_use]
    pub const fn with_rekey_after_messages(mut self, messages: u64) -> Self {
        self.rekey_after_messages = messages;
        self
    }

    /// The same session, whose first message here has this counter instead of 0. It goes on from another process, or
    /// somebody tests what happens at the limits, and need not send 2^60 messages.
    #[must_use]
    pub const fn with_first_counter(mut self, counter: u64) -> Self {
        self.counter = AtomicU64::new(counter);
        self
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

    /// The counter of the next message, as long as nobody takes one.
    pub fn next_counter(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// Takes the counters from the returned one up to, not including, `n` above it. Nobody else gets any of them, and
    /// all of them are below Reject-After-Messages.
    ///
    /// # Errors
    /// [`SendRefusal`], and no counter is taken. Who finds too few is the last to ask with success: a shorter train
    /// must not overtake one that waits for the next session.
    pub fn reserve(&self, now: Time, n: u64) -> Result<u64, SendRefusal> {
        if !self.usable(now) {
            return Err(SendRefusal::Expired);
        }
        // Relaxed is enough: uniqueness comes from the atomic itself, and the key was published before the session.
        self.counter
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                first.checked_add(n).filter(|&end| end <= REJECT_AFTER_MESSAGES)
            })
            .map_err(|_| {
                self.counter.fetch_max(REJECT_AFTER_MESSAGES, Ordering::Relaxed);
                SendRefusal::Exhausted
            })
    }

    /// Whether the session is younger than Reject-After-Time. Whether it has counters left, only
    /// [`SendSession::reserve`] tells.
    pub fn usable(&self, now: Time) -> bool {
        now.since(self.created) < REJECT_AFTER_TIME
    }

    /// Whether it is time to ask for a new session, as seen after sending: the initiator by age, both by count.
    pub fn wants_rekey(&self, now: Time) -> bool {
        self.initiator && now.since(self.created) >= self.rekey_after_time
            || self.counter.load(Ordering::Relaxed) >= self.rekey_after_messages
    }
}

/// The age at which its initiator replaces a session: each has its own, up to [`REKEY_SPREAD`] before Rekey-After-Time.
/// The two middle bytes of an index are random: its low byte names a worker, and its top byte may name a node.
const fn rekey_after_time(local_index: u32) -> Duration {
    let early_nanos = (REKEY_SPREAD.as_nanos() as u64 * (local_index >> 8 & 0xffff) as u64) >> 16;
    REKEY_AFTER_TIME.saturating_sub(Duration::from_nanos(early_nanos))
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

/// How far the receiving half of a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub(crate) window: ReplayWindow,
    /// Messages that were accepted.
    pub(crate) accepted: u64,
    /// Control knows that the peer has the key.
    pub(crate) confirmed: bool,
    /// Control knows that the session wants to be replaced.
    pub(crate) rekey_asked: bool,
}

parts!(Received { window, accepted, confirmed, rekey_asked });

impl Received {
    /// As [`ReceiveSession::missing`].
    pub(crate) const fn missing(&self) -> u64 {
        self.window.next().wrapping_sub(self.accepted)
    }
}

/// The receiving half, owned by the worker that its index names.
pub struct ReceiveSession<K> {
    key: K,
    local_index: u32,
    created: Time,
    initiator: bool,
    /// Whether control knows that the peer has the key: from the start for the initiator, after the first data message
    /// for the responder.
    confirmed: bool,
    rekey_asked: bool,
    window: ReplayWindow,
    accepted: u64,
}

impl<K> ReceiveSession<K> {
    /// A session that has received nothing.
    pub const fn new(key: K, local_index: u32, created: Time, initiator: bool) -> Self {
        let window = ReplayWindow::new();
        Self { key, local_index, created, initiator, confirmed: initiator, rekey_asked: false, window, accepted: 0 }
    }

    /// The same session, which has received this in another process.
    #[must_use]
    pub fn with_received(self, received: Received) -> Self {
        let Received { window, accepted, confirmed, rekey_asked } = received;
        Self { window, accepted, confirmed, rekey_asked, ..self }
    }

    /// How far the session is, for another process.
    pub fn received(&self) -> Received {
        let Self { accepted, confirmed, rekey_asked, .. } = *self;
        Received { window: self.window.clone(), accepted, confirmed, rekey_asked }
    }

    /// The cipher's key.
    pub const fn key(&self) -> &K {
        &self.key
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
        self.window.check_and_set(counter)?;
        self.accepted += 1;
        Ok(())
    }

    /// How many of the messages that the peer has sent, as far as the counters tell, did not come, or not yet.
    pub const fn missing(&self) -> u64 {
        self.window.next().wrapping_sub(self.accepted)
    }

    /// Whether control has yet to hear that the peer has the key. To be asked before [`ReceiveSession::confirm`] where
    /// telling it may fail.
    pub const fn awaits_confirmation(&self) -> bool {
        !self.confirmed
    }

    /// Notes that control has been told. True the first time.
    pub const fn confirm(&mut self) -> bool {
        !std::mem::replace(&mut self.confirmed, true)
    }

    /// Control could not be told after all.
    pub const fn retract_confirmation(&mut self) {
        self.confirmed = false;
    }

    /// Whether it is the last moment to ask for a new session, as seen after receiving; only for the initiator, and
    /// until [`ReceiveSession::note_rekey_asked`].
    pub fn wants_rekey(&self, now: Time) -> bool {
        self.initiator && !self.rekey_asked && now.since(self.created) >= REKEY_ON_RECEIVE_AFTER_TIME
    }

    /// Control has been told that the session wants to be replaced.
    pub const fn note_rekey_asked(&mut self) {
        self.rekey_asked = true;
    }

    /// Control could not be told after all.
    pub const fn retract_rekey(&mut self) {
        self.rekey_asked = false;
    }
}

impl<K> std::fmt::Debug for ReceiveSession<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveSession")
            .field("local_index", &self.local_index)
            .field("created", &self.created)
            .field("initiator", &self.initiator)
            .field("confirmed", &self.confirmed)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "keypair_tests.rs"]
mod tests;
