//! What the workers tell control about a peer's traffic, without a message per packet.
//!
//! The timers of the paper's section 6 depend on every packet sent and received, but on few facts of it: since when
//! data has gone unanswered, since when received data has gone without a reply, and when anything last passed. Workers
//! note those facts here, one relaxed store per train and none where nothing would change; control reads them when a
//! timer is due. Control is woken only when a peer leaves idleness ([`Activity::data_sent`] and
//! [`Activity::data_received`] return true): as long as it is *armed*, it looks again by itself, at least every
//! Keepalive-Timeout.
//!
//! All orderings are relaxed: nothing else is published through these words, and a note that is overtaken by another
//! core's costs at most one early or late keepalive. The one race that matters, a note made while control disarms, is
//! closed by control's last look a little later (`marks.rs`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::marks;
use crate::part::parts;
pub use crate::peer_counters::{PeerCounters, Sizes, Traffic, WorkerCounters};
use crate::time::Time;

/// The bit of the `unreplied` word that says that more data came after the first; stamps have it clear.
const ANOTHER: u64 = 1;

/// How much the last traversal may lag behind the truth, in nanoseconds (134 ms): with it, a busy peer's word is
/// written a few times a second instead of once per train. Persistent keepalives, the only reader, count in seconds.
const TRAVERSAL_GRANULARITY: u64 = 1 << 27;

/// One peer's traffic, as far as timers need it. Shared by control and all workers.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Activity {
    /// When data was first sent after the last authenticated message came in; 0: nothing is unanswered.
    unanswered_since: AtomicU64,
    /// When data first came in after the last authenticated message went out, with [`ANOTHER`] in the lowest bit;
    /// 0: everything had its reply.
    unreplied: AtomicU64,
    /// When any authenticated message was last sent or received; 0: never.
    last_traversal: AtomicU64,
    /// Control watches this peer.
    armed: AtomicBool,
    /// A worker asked for a handshake, and control has not yet taken notice.
    requested: AtomicBool,
}

/// The words of an [`Activity`].
#[derive(Debug)]
pub(crate) struct Noted {
    unanswered_since: u64,
    unreplied: u64,
    last_traversal: u64,
    armed: bool,
    requested: bool,
}

parts!(Noted { unanswered_since, unreplied, last_traversal, armed, requested });

/// A time as a stamp: not 0, which means none, and without the bit that [`ANOTHER`] takes.
fn stamp(now: Time) -> u64 {
    (now.0 & !ANOTHER).max(ANOTHER + 1)
}

fn time(stamp: u64) -> Option<Time> {
    (stamp != 0).then_some(Time(stamp & !ANOTHER))
}

/// Stores only what changes something, so a word at rest stays shared between the cores' caches.
fn clear(word: &AtomicU64) {
    if word.load(Relaxed) != 0 {
        word.store(0, Relaxed);
    }
}

/// What workers note. Each takes the time of the turn.
impl Activity {
    /// Data (not a keepalive) was sent. True: control must be woken with [`Awake`](crate::device::PeerEvent::Awake); if
    /// that event cannot be queued, call [`Activity::disarm`] so that the next packet tries again.
    #[inline]
    #[must_use = "control has to be woken"]
    pub fn data_sent(&self, now: Time) -> bool {
        self.traversed(now);
        clear(&self.unreplied);
        marks::note(&self.unanswered_since, &self.armed, |since| if since == 0 { stamp(now) } else { since })
    }

    /// A keepalive was sent. It does not touch what waits for a reply: control settled that when it ordered the
    /// keepalive.
    #[inline]
    pub fn keepalive_sent(&self, now: Time) {
        self.traversed(now);
    }

    /// Data (not a keepalive) was received and authenticated, whatever its inner packet is worth. True: as
    /// [`Activity::data_sent`].
    #[inline]
    #[must_use = "control has to be woken"]
    pub fn data_received(&self, now: Time) -> bool {
        self.traversed(now);
        clear(&self.unanswered_since);
        let with_this = |unreplied| if unreplied == 0 { stamp(now) } else { unreplied | ANOTHER };
        marks::note(&self.unreplied, &self.armed, with_this)
    }

    /// A keepalive was received and authenticated. It asks for no reply, so nobody is woken.
    #[inline]
    pub fn keepalive_received(&self, now: Time) {
        self.traversed(now);
        clear(&self.unanswered_since);
    }

    /// A handshake is needed. True: tell control with [`NeedHandshake`](crate::device::PeerEvent::NeedHandshake); if
    /// that event cannot be queued, call [`Activity::clear_request`]. False: somebody has told it already.
    #[inline]
    #[must_use = "control has to be told"]
    pub fn request_handshake(&self) -> bool {
        marks::raise(&self.requested)
    }

    fn traversed(&self, now: Time) {
        let last = self.last_traversal.load(Relaxed);
        if now.0.wrapping_sub(last) >= TRAVERSAL_GRANULARITY {
            self.last_traversal.store(stamp(now), Relaxed);
        }
    }
}

/// What control reads and settles.
impl Activity {
    /// Control stops watching: the next data wakes it. It must look once more a little later, for a worker that still
    /// saw the peer armed.
    pub fn disarm(&self) {
        self.armed.store(false, Relaxed);
    }

    /// Control watches, without having been woken.
    pub fn rearm(&self) {
        self.armed.store(true, Relaxed);
    }

    /// Whether control watches.
    pub fn is_armed(&self) -> bool {
        self.armed.load(Relaxed)
    }

    /// Whether a worker waits for a handshake.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Relaxed)
    }

    /// Takes notice of a request: the next one is reported again.
    pub fn clear_request(&self) {
        marks::lower(&self.requested);
    }

    /// An authenticated message other than data was sent by control, or ordered by it.
    pub fn control_sent(&self, now: Time) {
        self.traversed(now);
        clear(&self.unreplied);
    }

    /// A handshake message was received and authenticated.
    pub fn handshake_received(&self, now: Time) {
        self.traversed(now);
        clear(&self.unanswered_since);
    }

    /// Since when sent data has had no answer.
    pub fn unanswered_since(&self) -> Option<Time> {
        time(self.unanswered_since.load(Relaxed))
    }

    /// Since when received data has had no reply.
    pub fn unreplied_since(&self) -> Option<Time> {
        time(self.unreplied.load(Relaxed))
    }

    /// When anything authenticated last passed, at most 134 ms too early.
    pub fn last_traversal(&self) -> Option<Time> {
        time(self.last_traversal.load(Relaxed))
    }

    /// The unanswered data has led to a new handshake; further data starts anew.
    pub fn settle_unanswered(&self) {
        clear(&self.unanswered_since);
    }

    /// The unreplied data has led to a keepalive at `now`. If more data had come after the first, that data counts as
    /// unreplied since now, and a second keepalive follows if nothing else does; true if so.
    pub fn settle_unreplied(&self, now: Time) -> bool {
        let another = self.unreplied.load(Relaxed) & ANOTHER != 0;
        self.unreplied.store(if another { stamp(now) } else { 0 }, Relaxed);
        another
    }

    /// No keepalive will be sent for what came in: the peer cannot be reached.
    pub fn forget_unreplied(&self) {
        clear(&self.unreplied);
    }

    /// All that was noted, for another process.
    pub(crate) fn noted(&self) -> Noted {
        Noted {
            unanswered_since: self.unanswered_since.load(Relaxed),
            unreplied: self.unreplied.load(Relaxed),
            last_traversal: self.last_traversal.load(Relaxed),
            armed: self.armed.load(Relaxed),
            requested: self.requested.load(Relaxed),
        }
    }

    /// Notes what another process has noted.
    pub(crate) fn resume(&self, noted: &Noted) {
        self.unanswered_since.store(noted.unanswered_since, Relaxed);
        self.unreplied.store(noted.unreplied, Relaxed);
        self.last_traversal.store(noted.last_traversal, Relaxed);
        self.armed.store(noted.armed, Relaxed);
        self.requested.store(noted.requested, Relaxed);
    }

    /// Forgets all traffic: the link went down or came up, or the keys changed. A request stays.
    pub fn reset(&self) {
        self.unanswered_since.store(0, Relaxed);
        self.unreplied.store(0, Relaxed);
        self.last_traversal.store(0, Relaxed);
        self.disarm();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> Time = Time::from_secs;

    #[test]
    fn control_is_woken_once_per_idleness() {
        let activity = Activity::default();
        assert!(activity.data_sent(T(1)));
        assert!(!activity.data_sent(T(2)));
        assert!(!activity.data_received(T(2)));
        activity.disarm();
        assert!(activity.data_received(T(3)));
        assert!(!activity.data_sent(T(3)));
    }

    #[test]
    fn keepalives_wake_nobody_and_ask_for_no_reply() {
        let activity = Activity::default();
        activity.keepalive_received(T(1));
        activity.keepalive_sent(T(2));
        assert!(!activity.is_armed());
        assert_eq!((activity.unanswered_since(), activity.unreplied_since()), (None, None));
        assert_eq!(activity.last_traversal(), Some(T(2)));
    }

    #[test]
    fn unanswered_counts_from_the_first_data() {
        let activity = Activity::default();
        let _ = activity.data_sent(T(1));
        let _ = activity.data_sent(T(2));
        assert_eq!(activity.unanswered_since(), Some(T(1)));
        activity.keepalive_received(T(3));
        assert_eq!(activity.unanswered_since(), None);
        let _ = activity.data_sent(T(4));
        assert_eq!(activity.unanswered_since(), Some(T(4)));
        let _ = activity.data_received(T(5));
        assert_eq!(activity.unanswered_since(), None);
        let _ = activity.data_sent(T(6));
        activity.handshake_received(T(7));
        assert_eq!(activity.unanswered_since(), None);
    }

    #[test]
    fn unreplied_counts_from_the_first_data_and_remembers_another() {
        let activity = Activity::default();
        let _ = activity.data_received(T(1));
        assert_eq!(activity.unreplied_since(), Some(T(1)));
        assert!(!activity.settle_unreplied(T(11)), "one packet, one keepalive");
        assert_eq!(activity.unreplied_since(), None);

        let _ = activity.data_received(T(20));
        let _ = activity.data_received(T(21));
        assert_eq!(activity.unreplied_since(), Some(T(20)));
        assert!(activity.settle_unreplied(T(30)));
        assert_eq!(activity.unreplied_since(), Some(T(30)));
        activity.keepalive_sent(T(30));
        assert_eq!(activity.unreplied_since(), Some(T(30)), "our own keepalive is not the second one");
        assert!(!activity.settle_unreplied(T(40)));

        let _ = activity.data_received(T(50));
        let _ = activity.data_sent(T(51));
        assert_eq!(activity.unreplied_since(), None);
        let _ = activity.data_received(T(52));
        activity.control_sent(T(53));
        assert_eq!(activity.unreplied_since(), None);
    }

    #[test]
    fn time_zero_is_a_time() {
        let activity = Activity::default();
        let _ = activity.data_sent(Time::ZERO);
        assert!(activity.unanswered_since().is_some());
        let _ = activity.data_received(Time(1));
        assert!(activity.unreplied_since().is_some());
        assert!(!activity.settle_unreplied(Time(1)));
    }

    #[test]
    fn requests_are_reported_once() {
        let activity = Activity::default();
        assert!(activity.request_handshake());
        assert!(!activity.request_handshake());
        activity.clear_request();
        assert!(activity.request_handshake());
        activity.reset();
        assert!(!activity.request_handshake(), "who waits goes on waiting");
    }

    #[test]
    fn traversal_is_coarse_but_never_late() {
        let activity = Activity::default();
        activity.keepalive_sent(Time::from_millis(1000));
        activity.keepalive_sent(Time::from_millis(1100));
        assert_eq!(activity.last_traversal(), Some(Time::from_millis(1000)));
        activity.keepalive_sent(Time::from_millis(1150));
        assert_eq!(activity.last_traversal(), Some(Time::from_millis(1150)));
    }

    #[test]
    fn peers_do_not_share_lines() {
        assert_eq!(size_of::<Activity>(), 64);
    }
}
