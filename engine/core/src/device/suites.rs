//! Which cipher suite is used with whom, and what happens when the other side uses another one.
//!
//! A mismatch is refused, and both operators must hear of it. The responder knows exactly: the initiation that it
//! refuses is authentic. The initiator only hears nothing, and must not be sent anything that somebody else could have
//! made. So the responder shows its own suite by asking for a session in its turn: an ordinary initiation, which the
//! other side can authenticate, and refuses for the same reason. It is as long as the message that it answers (148
//! bytes) and it goes only to a peer that proved its key with a fresh timestamp, at most once per attempt (90 s) and
//! not at all while we are asking anyway. So it makes nobody an amplifier, and two that disagree fall silent as soon
//! as neither has traffic.
//!
//! An initiator whose peer does not even know the suite, another implementation, is never answered. If that suite is
//! not WireGuard's own, its operator is told after [`SUITE_SILENCE`] what the silence may mean.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::api::Notice;
use super::outbox::Outbox;
use super::peer::{Env, Peer};
use super::peers::keys_after;
use super::{Device, PeerSettingsFull, follow};
use crate::constants::{PEERS_MAX, SUITE_NOTICE_INTERVAL, SUITE_SILENCE, ZERO_KEYS_AFTER_TIME};
use crate::crypto::PublicKey;
use crate::drops::DropReason;
use crate::ids::Endpoint;
use crate::suite::Suite;
use crate::time::Time;
use crate::timers::Timer;

/// What the operator has set.
#[derive(Debug, Default)]
pub(super) struct Suites {
    interface: Suite,
    /// By key and not with the peer, so a peer that is removed and added again, as `wg setconf` does, does not
    /// come back under another suite.
    peers: BTreeMap<PublicKey, Suite>,
}

impl Suites {
    pub fn of(&self, key: &PublicKey) -> Suite {
        self.peers.get(key).copied().unwrap_or(self.interface)
    }
}

/// Configuration. As with all of it, see `config.rs`, what a setting makes necessary is due at once.
impl Device {
    /// Sets the suite of all peers that have none of their own. A peer whose suite changes by that loses its sessions.
    /// With many peers it takes more than this call, see [`Device::is_renewing`].
    pub fn set_suite(&mut self, now: Time, suite: Suite) {
        if std::mem::replace(&mut self.suites.interface, suite) != suite {
            self.begin_renewal(now);
        }
    }

    /// Sets the suite of one peer; with `None` it has that of the interface. If it changes by that, its sessions end,
    /// and those of others do not. The setting belongs to the key: it waits for a peer that is not there yet, and
    /// outlives one that is removed.
    ///
    /// # Errors
    /// [`PeerSettingsFull`], and nothing changes.
    pub fn set_peer_suite(&mut self, now: Time, key: PublicKey, suite: Option<Suite>) -> Result<(), PeerSettingsFull> {
        match suite {
            None => _ = self.suites.peers.remove(&key),
            Some(_) if self.suite_room() == 0 && !self.suites.peers.contains_key(&key) => return Err(PeerSettingsFull),
            Some(suite) => _ = self.suites.peers.insert(key, suite),
        }
        let (ready, suite) = (self.up && self.identity.is_some(), self.suites.of(&key));
        if let Some(peer) = self.peers.by_key(&key).and_then(|id| self.peers.get_mut(id)) {
            peer.use_suite(suite, now, ready, &mut self.out);
            follow(&mut self.changes, &mut self.schedule, peer, now);
        }
        Ok(())
    }

    /// Suites and sources as another process had them, before any peer is there.
    pub(super) fn resume_settings(
        &mut self,
        interface: Suite,
        suites: Vec<(PublicKey, Suite)>,
        sources: Vec<(PublicKey, IpAddr)>,
    ) {
        self.suites = Suites { interface, peers: suites.into_iter().collect() };
        self.sources = sources.into_iter().collect();
    }

    /// The suite of all peers that have none of their own.
    pub const fn suite(&self) -> Suite {
        self.suites.interface
    }

    /// The suite that was set for the peer with this key alone, whether it is there or not.
    pub fn peer_suite(&self, key: &PublicKey) -> Option<Suite> {
        self.suites.peers.get(key).copied()
    }

    /// All suites that were set for single peers.
    pub fn peer_suites(&self) -> impl Iterator<Item = (&PublicKey, Suite)> {
        self.peer_suites_after(None)
    }

    /// The same, all or those after a key.
    pub fn peer_suites_after(&self, key: Option<PublicKey>) -> impl Iterator<Item = (&PublicKey, Suite)> {
        self.suites.peers.range(keys_after(key)).map(|(key, &suite)| (key, suite))
    }

    /// For how many more peers a suite may be set.
    pub fn suite_room(&self) -> usize {
        PEERS_MAX.saturating_sub(self.suites.peers.len())
    }
}

impl Peer {
    /// Uses a suite from now on. If it is another one, nothing of the former one remains. With a peer that we have a
    /// session with, or were asking for one, we begin anew at once: it cannot know that its session is worth nothing
    /// any more.
    pub(super) fn use_suite(&mut self, suite: Suite, now: Time, ready: bool, out: &mut Outbox) {
        if suite == self.remote.suite() {
            return;
        }
        let in_use = self.timers.get(Timer::Retransmit).is_some() || self.sessions.current().is_some();
        self.remote.set_suite(suite);
        self.reset(out);
        self.suite_noticed = None;
        self.silence_noticed = false;
        self.kick(now, ready);
        if in_use {
            self.attempt_started = now;
            self.timers.set(Timer::Retransmit, now);
        }
    }

    /// The peer asked, authentically, for a session under another suite than it is set to.
    pub(super) fn refuse_suite(&mut self, theirs: Suite, endpoint: Endpoint, env: &mut Env<'_>) -> DropReason {
        let now = env.now.mono;
        if self.suite_noticed.is_none_or(|at| now >= at + SUITE_NOTICE_INTERVAL) {
            self.suite_noticed = Some(now);
            self.silence_noticed = true; // Its reason is known.
            let notice = Notice::SuiteMismatch { ours: self.remote.suite(), theirs };
            env.out.notify(*self.remote.public(), notice);
            self.show_suite(endpoint, env);
        }
        DropReason::SuiteMismatch
    }

    /// Lets the peer know our suite, unless it hears from us anyway.
    fn show_suite(&mut self, endpoint: Endpoint, env: &mut Env<'_>) {
        let asking = self.timers.get(Timer::Retransmit).is_some();
        let asked = self.next_initiation_at().is_some_and(|at| env.now.mono < at);
        if asking || asked || !self.send_initiation(endpoint, env) {
            return;
        }
        // Should the peer be set right at this moment, it answers. If not, the handshake must not be kept for ever.
        if self.timers.get(Timer::ZeroKeys).is_none() {
            self.timers.set(Timer::ZeroKeys, env.now.mono + ZERO_KEYS_AFTER_TIME);
        }
    }

    /// An initiation is about to be repeated.
    pub(super) fn note_silence(&mut self, env: &mut Env<'_>) {
        let suite = self.remote.suite();
        let silent = self.unanswered_since.is_some_and(|since| env.now.mono >= since + SUITE_SILENCE);
        if silent && suite != Suite::default() && !std::mem::replace(&mut self.silence_noticed, true) {
            env.out.notify(*self.remote.public(), Notice::SuiteSilence { suite });
        }
    }
}
