//! What concerns all peers at once, done for some of them at a time: another private key of ours, or another suite of
//! the interface. With 100,000 peers it would keep handshakes waiting otherwise.
//!
//! A peer that takes a step before its turn comes is renewed first. So no peer does anything under the former key.
//! Until then its session may still carry data.

use super::api::Action;
use super::outbox::Outbox;
use super::peer::Peer;
use super::{Device, enter};
use crate::suite::Suite;
use crate::time::Time;
use crate::timers::Timer;

/// Peers that are renewed in one call.
pub(super) const PEERS_PER_SLICE: usize = 256;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// Which of our private keys this is, counted from the first.
    identity: u32,
    /// The slot to go on with; `None` if all peers are as they must be.
    next_slot: Option<usize>,
}

/// What a peer has to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub identity: u32,
    pub suite: Suite,
}

impl Renewal {
    /// Our private key is another one.
    pub const fn note_identity(&mut self) {
        self.identity = self.identity.wrapping_add(1);
    }

    /// The number of our private key.
    pub const fn identity(&self) -> u32 {
        self.identity
    }

    /// When there is more to do: at once, or never.
    pub fn due(&self) -> Option<Time> {
        self.next_slot.map(|_| Time::ZERO)
    }
}

impl Device {
    /// Whether peers still wait to be told of another private key, or another suite of the interface: the calls of
    /// [`Device::handle_timeout`] that [`Device::poll_timeout`] asks for tell them.
    pub fn is_renewing(&self) -> bool {
        self.renewal.next_slot.is_some()
    }

    /// Begins with the first peer again, whoever was told before.
    pub(super) fn begin_renewal(&mut self, now: Time) {
        self.renewal.next_slot = Some(0);
        self.renew_some(now);
    }

    /// Tells the next few peers, if any wait.
    pub fn renew_some(&mut self, now: Time) {
        let Some(first) = self.renewal.next_slot else { return };
        let (ready, identity) = (self.up && self.identity.is_some(), self.renewal.identity);
        for peer in self.peers.slice_mut(first, PEERS_PER_SLICE) {
            let target = Target { identity, suite: self.suites.of(peer.remote.public()) };
            peer.renew(target, now, ready, &mut self.out);
            enter(&mut self.schedule, peer);
        }
        let next = first + PEERS_PER_SLICE;
        self.renewal.next_slot = (next < self.peers.slot_count()).then_some(next);
    }
}

impl Peer {
    /// Becomes what it has to be. Nothing happens to a peer that is so already.
    pub(super) fn renew(&mut self, target: Target, now: Time, ready: bool, out: &mut Outbox) {
        let Target { identity, suite } = target;
        if self.identity != identity {
            let asks = self.timers.get(Timer::Retransmit).is_some();
            self.identity = identity;
            self.remote.forget_local();
            self.reset(out);
            self.kick(now, ready);
            if asks {
                self.ask_anew(now, ready, out);
            }
        }
        self.use_suite(suite, now, ready, out);
    }

    /// Whoever was asked under the former key is asked under this one: packets wait for the answer. Without a key, or
    /// a link, they wait for nothing.
    fn ask_anew(&mut self, now: Time, ready: bool, out: &mut Outbox) {
        if ready && self.endpoint().is_some() {
            self.attempt_started = now;
            self.timers.set(Timer::Retransmit, now);
        } else {
            out.push(Action::DropStaged { peer: self.id });
        }
    }
}
