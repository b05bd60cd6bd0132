//! Deadlines: a small table per peer, and one ordered set over all peers.
//!
//! A peer is in the set at most once, with the earliest of its deadlines, so millions of peers with nothing to
//! wait for cost nothing, and moving a deadline is two steps in a tree.

use std::collections::BTreeSet;

use crate::ids::PeerId;
use crate::part::{Malformed, Part, Reader, Sink};
use crate::time::Time;

/// What a peer can wait for, in the order in which it is served when, after a suspension, all of it is overdue: old
/// keys go before new ones are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The zeroing of all keys.
    ZeroKeys,
    /// The next initiation, while a handshake is under way or was asked for too early.
    Retransmit,
    /// A look at the peer's [`Activity`](crate::activity::Activity): keepalives and unanswered data.
    Watch,
    /// The persistent keepalive.
    PersistentKeepalive,
}

impl Timer {
    const ALL: [Self; 4] = [Self::ZeroKeys, Self::Retransmit, Self::Watch, Self::PersistentKeepalive];
}

/// One peer's deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers([Option<Time>; Timer::ALL.len()]);

impl Part for Timers {
    fn put(&self, to: &mut dyn Sink) {
        self.0.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Part::take(from).map(Self)
    }
}

impl Timers {
    /// Moves or starts a timer.
    pub const fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = Some(at);
    }

    /// Stops a timer.
    pub const fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops all.
    pub const fn stop_all(&mut self) {
        self.0 = [None; Timer::ALL.len()];
    }

    /// When a timer is due, if it runs.
    pub const fn get(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Stops and returns a timer that is due, in the order of [`Timer`].
    pub fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let timer = Timer::ALL.into_iter().find(|&timer| self.get(timer).is_some_and(|at| at <= now))?;
        self.stop(timer);
        Some(timer)
    }
}

/// All peers that have a deadline, the earliest first.
#[derive(Debug, Default)]
pub struct Schedule(BTreeSet<(Time, PeerId)>);

impl Schedule {
    /// Moves a peer from the deadline under which it was entered last to another.
    pub fn reschedule(&mut self, peer: PeerId, from: Option<Time>, to: Option<Time>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.0.remove(&(from, peer));
        }
        if let Some(to) = to {
            self.0.insert((to, peer));
        }
    }

    /// The earliest deadline of all.
    pub fn next(&self) -> Option<Time> {
        self.0.first().map(|&(at, _)| at)
    }

    /// The peer that has been due for longest. It stays entered until it is moved.
    pub fn first_due(&self, now: Time) -> Option<PeerId> {
        self.0.first().filter(|(at, _)| *at <= now).map(|&(_, peer)| peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn peer(index: u32) -> PeerId {
        PeerId { index, generation: 0 }
    }

    #[test]
    fn timers_come_in_order_and_once() {
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::ZeroKeys, Time(30));
        timers.set(Timer::Watch, Time(10));
        timers.set(Timer::Retransmit, Time(20));
        assert_eq!(timers.next(), Some(Time(10)));
        assert_eq!(timers.pop_due(Time(9)), None);
        assert_eq!(timers.pop_due(Time(25)), Some(Timer::Retransmit));
        assert_eq!(timers.pop_due(Time(25)), Some(Timer::Watch));
        assert_eq!(timers.pop_due(Time(25)), None);
        assert_eq!(timers.next(), Some(Time(30)));
        timers.stop_all();
        assert_eq!(timers.pop_due(Time::MAX), None);
    }

    #[test]
    fn every_timer_has_its_own_place() {
        for (place, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, place);
        }
    }

    #[test]
    fn the_schedule_holds_each_peer_once() {
        let mut schedule = Schedule::default();
        schedule.reschedule(peer(1), None, Some(Time(10)));
        schedule.reschedule(peer(2), None, Some(Time(10)));
        schedule.reschedule(peer(1), Some(Time(10)), Some(Time(20)));
        assert_eq!(schedule.next(), Some(Time(10)));
        assert_eq!(schedule.first_due(Time(9)), None);
        assert_eq!(schedule.first_due(Time(10)), Some(peer(2)));
        schedule.reschedule(peer(2), Some(Time(10)), None);
        assert_eq!(schedule.next(), Some(Time(20)));
        schedule.reschedule(peer(1), Some(Time(20)), Some(Time(20)));
        assert_eq!(schedule.0.len(), 1);
    }

    #[test]
    fn many_idle_deadlines_are_one_next_deadline() {
        let mut schedule = Schedule::default();
        for index in 0..2_000_000 {
            schedule.reschedule(peer(index), None, Some(Time(1_000 + u64::from(index))));
        }
        assert_eq!(schedule.next(), Some(Time(1_000)));
        assert_eq!(schedule.first_due(Time(999)), None);
    }
}
