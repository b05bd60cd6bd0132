//! What is remembered of each peer's past: what control has seen go wrong, and what the operator was told. The state of
//! the peer follows from it ([`verdict`](super::verdict)).
//!
//! ```text
//!   handshakes, timers, send errors ─► Failures ─┐
//!   sessions, unanswered initiations ────────────┼─► PeerState ─► Notice, when it changes
//!   what workers threw away (PeerDrops) ─────────┴─► PeerSnapshot ─► diagnosis
//! ```
//!
//! A peer takes nothing until something goes wrong or a handshake succeeds. From then on it takes 256 bytes at most,
//! and 88 more for each kind of failure that it had.

mod failures;
mod state;

pub(super) use failures::Failures;
pub use failures::{Failure, FailureRecord, Unreachable};
pub use state::PeerState;

use std::net::SocketAddr;
use std::time::Duration;

use crate::activity::Traffic;
use crate::on_demand::initial;
use crate::part::{kinds, parts};
use crate::time::Time;

/// Lines about one peer that may follow each other at once, and then one in each interval.
const LINES_BURST: u32 = 5;
const LINE_INTERVAL: Duration = Duration::from_secs(60);
/// A peer that does not come back to a former address for so long has settled.
const RETURNS_WITHIN: Duration = Duration::from_secs(600);

/// What is remembered of one peer's past.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pub failures: Failures,
    /// Handshakes that were completed.
    pub handshakes: u64,
    /// When the last of them was.
    pub completed: Option<Time>,
    /// From our first initiation to the session, of the last one that we asked for.
    pub took: Option<Duration>,
    /// Messages that had come from the peer when we began to ask for a session.
    pub heard_before: u64,
    /// What passed before the present session, or the present process if that began later.
    pub before_session: Traffic,
    /// Messages of the present session that were missing before the present process.
    pub missing_before: u64,
    /// Answers of ours in a row that the peer has made no use of.
    pub unused: u32,
    /// Where the last initiation came from, and the address before that.
    places: [Option<SocketAddr>; 2],
    /// How often initiations went back to the address before the last.
    returns: u32,
    returned: Time,
    /// What the operator was told last.
    pub told: PeerState,
    pub told_remote: Option<SocketAddr>,
    /// When all lines so far will be paid for.
    paid: Time,
}

initial!(Health);

parts!(Health {
    failures,
    handshakes,
    completed,
    took,
    heard_before,
    unused,
    places,
    returns,
    returned,
    told,
    told_remote,
    paid,
    ..
});

kinds!(PeerState, "the state of a peer");

impl Health {
    pub fn fail(&mut self, failure: Failure, endpoint: Option<SocketAddr>, now: Time) {
        self.failures.note(failure, endpoint, now);
    }

    pub fn complete(&mut self, now: Time, asked: Option<Time>) {
        self.handshakes += 1;
        self.completed = Some(now);
        self.took = asked.map(|asked| now.since(asked)).or(self.took);
        self.unused = 0;
    }

    /// An authentic initiation came from there.
    pub fn asked_from(&mut self, remote: SocketAddr, now: Time) {
        let [last, before] = self.places;
        if last == Some(remote) {
            return;
        }
        if before == Some(remote) {
            let settled = now.since(self.returned) >= RETURNS_WITHIN;
            self.returns = if settled { 1 } else { self.returns.saturating_add(1) };
            self.returned = now;
        }
        self.places = [Some(remote), last];
    }

    /// The operator says where the peer is. That is no news to him.
    pub fn placed(&mut self, remote: SocketAddr) {
        self.told_remote = self.told_remote.map(|_| remote);
    }

    /// How often the peer lately went back and forth between two addresses, and which.
    pub fn returns(&self, now: Time) -> Option<(u32, [SocketAddr; 2])> {
        let [Some(last), Some(before)] = self.places else { return None };
        let lately = self.returns > 0 && now.since(self.returned) < RETURNS_WITHIN;
        lately.then_some((self.returns, [last, before]))
    }

    /// Whether one more line about this peer may be written.
    pub fn may_tell(&mut self, now: Time) -> bool {
        let paid = self.paid.max(now) + LINE_INTERVAL;
        let may = paid.since(now) <= LINES_BURST * LINE_INTERVAL;
        self.paid = if may { paid } else { self.paid };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> Time = Time::from_secs;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 51_820))
    }

    #[test]
    fn a_peer_without_failures_costs_little() {
        assert!(size_of::<Health>() <= 256, "{}", size_of::<Health>());
    }

    #[test]
    fn lines_about_one_peer_are_limited() {
        let mut health = Health::default();
        let at_once = (0..100).filter(|_| health.may_tell(T(1_000))).count();
        assert_eq!(at_once, LINES_BURST as usize);
        assert!(!health.may_tell(T(1_059)) && health.may_tell(T(1_060)) && !health.may_tell(T(1_061)));
    }

    #[test]
    fn a_peer_that_moves_on_does_not_return() {
        let mut health = Health::default();
        for last in 1..=9 {
            health.asked_from(addr(last), T(10));
            health.asked_from(addr(last), T(10));
        }
        assert_eq!(health.returns(T(10)), None);
    }

    #[test]
    fn two_places_in_turn_are_returns_until_they_settle() {
        let mut health = Health::default();
        for (second, last) in [(10, 1), (20, 2), (30, 1), (40, 2), (50, 1)] {
            health.asked_from(addr(last), T(second));
        }
        assert_eq!(health.returns(T(60)), Some((3, [addr(1), addr(2)])));
        assert_eq!(health.returns(T(650)), None);
        health.asked_from(addr(2), T(700));
        assert_eq!(health.returns(T(700)), Some((1, [addr(2), addr(1)])), "it counts anew");
    }
}
