//! What concerns all peers at once, done for some of them at a time: another private key of ours, another suite of the
//! interface, a link that comes up or goes down, sources that are worth nothing any more. With 100,000 peers it would
//! keep handshakes waiting otherwise.
//!
//! A peer that takes a step before its turn comes is renewed first. So no peer does anything under the former key, or
//! with the sessions of before the link went down. Until then its session may still carry data.

use super::api::Action;
use super::outbox::Outbox;
use super::peer::{Epoch, Peer};
use super::walk::Walk;
use super::{Device, follow};
use crate::suite::Suite;
use crate::time::Time;
use crate::timers::Timer;

/// Peers that are renewed in one call.
pub(super) const PEERS_PER_SLICE: usize = 256;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// What there is now.
    epoch: Epoch,
    /// At its end all peers are as they must be.
    walk: Walk,
}

/// What a peer has to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub epoch: Epoch,
    pub suite: Suite,
}

impl Renewal {
    /// Our private key is another one.
    pub const fn note_identity(&mut self) {
        self.epoch.identity = self.epoch.identity.wrapping_add(1);
    }

    /// The link has come up or gone down.
    pub const fn note_link(&mut self) {
        self.epoch.link = self.epoch.link.wrapping_add(1);
    }

    /// The sources of all peers must be forgotten.
    pub const fn note_sources(&mut self) {
        self.epoch.sources = self.epoch.sources.wrapping_add(1);
    }

    /// What a peer is told of that is added now.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When there is more to do: at once, or never.
    pub fn due(&self) -> Option<Time> {
        self.walk.due()
    }
}

impl Device {
    /// Whether peers still wait to be told of what concerns all of them: another private key, another suite of the
    /// interface, the state of the link, sources. The calls of [`Device::handle_timeout`] that
    /// [`Device::poll_timeout`] asks for tell them.
    pub fn is_renewing(&self) -> bool {
        !self.renewal.walk.is_done()
    }

    /// Begins with the first peer again, whoever was told before.
    pub(super) fn begin_renewal(&mut self, now: Time) {
        self.renewal.walk = Walk::from_the_first();
        self.renew_some(now);
    }

    /// Tells the next few peers, if any wait.
    pub fn renew_some(&mut self, now: Time) {
        let Some(slots) = self.renewal.walk.step(PEERS_PER_SLICE, &self.peers) else { return };
        let (ready, epoch) = (self.up && self.identity.is_some(), self.renewal.epoch);
        for peer in self.peers.slice_mut(slots) {
            let target = Target { epoch, suite: self.suites.of(peer.remote.public()) };
            peer.renew(target, now, ready, &mut self.out);
            follow(&mut self.changes, &mut self.schedule, peer, now);
        }
    }
}

impl Peer {
    /// Becomes what it has to be. Nothing happens to a peer that is so already.
    pub(super) fn renew(&mut self, target: Target, now: Time, ready: bool, out: &mut Outbox) {
        let Target { epoch, suite } = target;
        let before = std::mem::replace(&mut self.epoch, epoch);
        if before.link != epoch.link {
            self.follow_link(before.is_up(), epoch.is_up(), (now, ready), out);
        }
        if before.sources != epoch.sources {
            self.forget_source();
        }
        if before.identity != epoch.identity {
            let asks = self.timers.get(Timer::Retransmit).is_some();
            self.remote.forget_local();
            self.reset(out);
            self.kick(now, ready);
            if asks {
                self.ask_anew(now, ready, out);
            }
        }
        self.use_suite(suite, now, ready, out);
    }

    /// The link went down, came up, or both.
    fn follow_link(&mut self, was_up: bool, is_up: bool, (now, ready): (Time, bool), out: &mut Outbox) {
        if was_up {
            self.reset(out);
        }
        if was_up && !is_up {
            out.push(Action::DropStaged { peer: self.id });
            self.shared.activity.clear_request();
        }
        if is_up {
            // Workers may have noted something since the link went down, and what they then said was ignored.
            self.shared.activity.reset();
            // What was told before the sessions were lost says nothing of them.
            self.shared.lost.untold();
            self.keepalive_at_once = self.keepalive_secs > 0;
            self.kick(now, ready);
        }
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
