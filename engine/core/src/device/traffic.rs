//! What a peer's traffic asks of control: keepalives, and handshakes when sessions age or the peer falls silent
//! (WireGuard paper, sections 6.2, 6.3 and 6.5; the kernel's `timers.c`).

use std::time::Duration;

use super::api::{Action, HandshakeReason};
use super::peer::{Env, Peer, Watch};
use crate::constants::{KEEPALIVE_TIMEOUT, NEW_HANDSHAKE_TIMEOUT, REJECT_AFTER_TIME, REKEY_AFTER_TIME};
use crate::time::Time;
use crate::timers::Timer;

/// How long after disarming control looks once more. A worker's store is visible to other cores long before.
const LAST_LOOK_AFTER: Duration = Duration::from_millis(100);
/// A worker that read the clock a moment before control says that a session is over which for control is not yet.
const CLOCK_MARGIN_SECS: u64 = 1;
/// A session has so long to live when it is time for the next one.
const AGES_BEFORE_END_SECS: u64 = REJECT_AFTER_TIME.as_secs() - REKEY_AFTER_TIME.as_secs();

impl Peer {
    /// A worker noted traffic of an idle peer.
    pub fn awake(&mut self, env: &mut Env<'_>) {
        self.jitter = env.jitter();
        self.shared.activity.rearm();
        self.watch_on(env.now.mono);
    }

    /// A worker asks for a handshake.
    pub fn handshake_requested(&mut self, reason: HandshakeReason, env: &mut Env<'_>) {
        let current = self.sessions.current();
        let needed = match reason {
            // The worker may not have read its mail yet.
            HandshakeReason::NoSession => !current.is_some_and(|s| s.valid(env.now.mono, CLOCK_MARGIN_SECS)),
            // It may have been replaced since, but not by one that ages as well. When both sides asked at once, the
            // session that ages is not the one that is sent under, and is as old.
            HandshakeReason::KeyAging { local_index } => {
                current.is_none_or(|s| s.local_index == local_index || !s.valid(env.now.mono, AGES_BEFORE_END_SECS))
            }
        };
        if needed {
            self.want_handshake(env);
        } else {
            self.shared.activity.clear_request();
        }
    }

    /// Time to look at what the workers noted.
    pub fn watch_due(&mut self, env: &mut Env<'_>) {
        let now = env.now.mono;
        if self.watch == Watch::LastLook {
            if self.watch_deadline().is_none() {
                self.watch = Watch::Idle;
                return;
            }
            self.shared.activity.rearm();
        }
        if self.new_handshake_at().is_some_and(|at| at <= now) {
            self.shared.activity.settle_unanswered();
            self.jitter = env.jitter();
            self.want_handshake(env);
        }
        if self.keepalive_at().is_some_and(|at| at <= now) {
            self.shared.activity.settle_unreplied(now);
            self.send_keepalive(env);
        }
        self.watch_on(now);
    }

    /// Looks again when something is due, but also within Keepalive-Timeout: a note made from now on may be due then.
    /// With nothing to wait for, the workers are to wake control.
    fn watch_on(&mut self, now: Time) {
        let at = match self.watch_deadline() {
            Some(at) => {
                self.watch = Watch::Armed;
                at.min(now + KEEPALIVE_TIMEOUT)
            }
            None => {
                self.shared.activity.disarm();
                self.watch = Watch::LastLook;
                now + LAST_LOOK_AFTER
            }
        };
        self.timers.set(Timer::Watch, at);
    }

    fn watch_deadline(&self) -> Option<Time> {
        [self.new_handshake_at(), self.keepalive_at()].into_iter().flatten().min()
    }

    fn new_handshake_at(&self) -> Option<Time> {
        self.shared.activity.unanswered_since().map(|since| since + NEW_HANDSHAKE_TIMEOUT + self.jitter)
    }

    fn keepalive_at(&self) -> Option<Time> {
        self.shared.activity.unreplied_since().map(|since| since + KEEPALIVE_TIMEOUT)
    }

    /// Time for a persistent keepalive, unless something passed in the meantime.
    pub fn persistent_keepalive_due(&mut self, env: &mut Env<'_>) {
        let now = env.now.mono;
        let interval = Duration::from_secs(self.keepalive_secs.into());
        if interval.is_zero() || !env.up || env.local.is_none() || self.endpoint().is_none() {
            return; // What is missing starts the timer when it comes.
        }
        let at = self.shared.activity.last_traversal().map(|last| last + interval);
        match at.filter(|&at| at > now && !self.keepalive_at_once) {
            Some(at) => self.timers.set(Timer::PersistentKeepalive, at),
            None => {
                self.keepalive_at_once = false;
                self.timers.set(Timer::PersistentKeepalive, now + interval);
                self.shared.activity.control_sent(now);
                self.send_keepalive(env);
            }
        }
    }

    /// Has a worker send an empty packet. Without a session, the handshake's confirmation takes its place.
    fn send_keepalive(&mut self, env: &mut Env<'_>) {
        if self.sessions.current().is_some_and(|session| session.valid(env.now.mono, 0)) {
            env.out.push(Action::SendKeepalive { peer: self.id });
        } else {
            self.want_handshake(env);
        }
    }
}
