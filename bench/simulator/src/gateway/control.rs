//! The control thread: what the daemon's does in a turn, in that order, with interruptions.

use std::collections::VecDeque;

use ringfort_core::device::{Action, Outgoing, PeerEvent};
use ringfort_core::ids::Endpoint;
use ringfort_core::time::{Now, Time};
use ringfort_core::wire::{Message, TYPE_INITIATION, classify};
use ringfort_path::turns::{EVENTS_PER_TURN, HANDSHAKES_PER_TURN, LOADED_WAITING, wakes_for_order, wakes_for_sessions};
use ringfort_path::{HandshakeMessage, Mailboxes, Order, SessionOrder};

use super::Gateway;
use super::worker::Inbox;
use crate::network::Wire;
use crate::outside::Outside;
use crate::trace::{Step, Who};

/// Calls of `handle_timeout` after which something is wrong.
const TIMEOUTS_MAX: usize = 10_000;

/// What waits for control, and when it wakes up.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) events: VecDeque<PeerEvent>,
    pub(super) handshakes: VecDeque<HandshakeMessage>,
    /// Messages that are worth work.
    waiting: VecDeque<HandshakeMessage>,
    pub(super) wakes: Option<Time>,
    /// It was interrupted while it carried out what was decided.
    pub(super) carries_out: bool,
}

impl Control {
    /// Whether nobody has told it anything.
    pub(super) fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.handshakes.is_empty() && self.waiting.is_empty()
    }
}

/// Mailboxes that note who is woken.
struct Boxes<'a> {
    inboxes: Vec<&'a mut Inbox>,
    woken: u64,
}

impl Boxes<'_> {
    fn ring(&mut self, worker: usize) {
        self.inboxes[worker].rung = true;
        self.woken |= 1 << worker;
    }
}

impl Mailboxes for Boxes<'_> {
    fn order(&mut self, worker: usize, order: Order) {
        let orders = &mut self.inboxes[worker].orders;
        let rings = wakes_for_order(&order, orders.len() + 1);
        orders.push_back(order);
        if rings {
            self.ring(worker);
        }
    }

    fn session(&mut self, worker: usize, order: SessionOrder) {
        let sessions = &mut self.inboxes[worker].sessions;
        sessions.push_back(order);
        if wakes_for_sessions(sessions.len()) {
            self.ring(worker);
        }
    }

    fn wake(&mut self, worker: usize) {
        if !self.inboxes[worker].is_empty() {
            self.ring(worker);
        }
    }
}

impl Gateway {
    /// Control wakes up, or goes on.
    pub fn control_turn(&mut self, out: &mut Outside) {
        if self.control.wakes != Some(out.now) {
            return;
        }
        self.control.wakes = None;
        if out.now < self.stops.control {
            return self.wake_control_at(self.stops.control, out);
        }
        loop {
            let mut more = true;
            if !self.control.carries_out {
                more = self.decide(out);
                self.control.carries_out = true;
            }
            if !self.carry_out(out) {
                return self.wake_control(out);
            }
            self.control.carries_out = false;
            let oldest = self.workers.iter().map(|worker| worker.routes_version).min().unwrap_or(0);
            self.dispatch.release_routes(oldest);
            if !more {
                break;
            }
            if out.rng.chance(self.site.interrupted) {
                return self.wake_control(out);
            }
        }
        self.sleep(out);
    }

    /// Makes the decisions that are due. True: there is more.
    pub(super) fn decide(&mut self, out: &mut Outside) -> bool {
        let now = self.now(out.now);
        let mut events = 0;
        while events < EVENTS_PER_TURN
            && let Some(event) = self.control.events.pop_front()
        {
            self.device.handle_event(now, event, &mut self.rng);
            events += 1;
        }
        while let Some(message) = self.control.handshakes.pop_front() {
            let HandshakeMessage { endpoint, datagram, proof, .. } = &message;
            if self.device.screen(now.mono, *endpoint, datagram.as_ref(), *proof).is_ok() {
                self.control.waiting.push_back(message);
            }
        }
        if self.control.waiting.len() >= LOADED_WAITING {
            self.device.note_load(now.mono, &mut self.rng);
        }
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(HandshakeMessage { endpoint, datagram, proof, .. }) = self.control.waiting.pop_front() else {
                break;
            };
            let admission = (proof, self.device.is_loaded(now.mono));
            let result = self.device.handle_admitted(now, endpoint, datagram.as_ref(), admission, &mut self.rng);
            // Why it has no effect is among the device's drops.
            if result.is_ok()
                && let Ok(Message::Initiation(_, message)) = classify(datagram.as_ref())
                && !self.answered.insert(message.ephemeral)
            {
                out.check(Err(format!("g{}: an initiation is answered twice", self.index)));
            }
        }
        self.handle_timeouts(now, out);
        events == EVENTS_PER_TURN || !self.control.waiting.is_empty()
    }

    fn handle_timeouts(&mut self, now: Now, out: &mut Outside) {
        for _ in 0..TIMEOUTS_MAX {
            if self.device.poll_timeout().is_none_or(|due| due > now.mono) {
                return;
            }
            self.device.handle_timeout(now, &mut self.rng);
        }
        out.check(Err(format!("g{}: a deadline stays in the past", self.index)));
    }

    /// Carries out what was decided. False: interrupted.
    pub(super) fn carry_out(&mut self, out: &mut Outside) -> bool {
        while let Some(action) = self.device.poll_action() {
            self.apply(action, out);
            if out.rng.chance(self.site.interrupted) {
                return false;
            }
        }
        true
    }

    pub(super) fn apply(&mut self, action: Action, out: &mut Outside) {
        if let Action::BeginSession { created, session, .. } = &action {
            let key = session.keys.send.as_bytes();
            let result = out.nonces.begin((self.index, session.remote_index), key, *created, session.initiator);
            out.check(result);
            self.receives.insert(session.local_index);
            self.strangers.named.insert(session.local_index);
            self.dispatch.begin_at_counter(if out.now < self.worn_until { self.site.first_counter } else { 0 });
        }
        if let Action::RetireReceive { local_index } = &action {
            self.receives.remove(local_index);
        }
        let action = match action {
            Action::Routes(routes) if self.site.large_routes => Action::Routes(routes.with_large_from(1)),
            action => action,
        };
        let inboxes = self.workers.iter_mut().map(|worker| &mut worker.inbox).collect();
        let mut boxes = Boxes { inboxes, woken: 0 };
        let left = self.dispatch.apply(action, &mut boxes);
        let woken = boxes.woken;
        (0..self.workers.len()).filter(|worker| woken >> worker & 1 == 1).for_each(|worker| self.wake(worker, out));
        if let Some(Outgoing::Send { endpoint, datagram, peer }) = left {
            let works = self.send_handshake(&endpoint, datagram.as_ref(), out);
            if let Some(peer) = peer {
                self.device.handshake_left(peer, datagram.as_ref().len());
                if !works {
                    self.device.source_failed(peer, endpoint);
                }
            }
        }
    }

    /// False: the source address that the endpoint names does not work.
    fn send_handshake(&mut self, endpoint: &Endpoint, message: &[u8], out: &mut Outside) -> bool {
        let mut tag = [0; 8];
        tag.copy_from_slice(&message[message.len() - 40..message.len() - 32]);
        let (to, kind) = (endpoint.remote, message[0]);
        out.note(Who::Control(self.index), Step::Asked { to, kind, tag: u64::from_le_bytes(tag) });
        if kind == TYPE_INITIATION {
            out.nonces.ask(self.index, to, self.now(out.now).mono);
        }
        let (from, works) = out.network.source(self.index, endpoint);
        let refused = out.now < self.stops.sends && out.rng.chance(128);
        let looped = self.stops.looped.is_some_and(|peer| out.network.owner(to) == Some(peer));
        if looped {
            self.loop_back(0, from, to, message, out);
        } else if !refused && out.now >= self.stops.socket {
            let mut bytes = out.network.buffer();
            bytes.extend_from_slice(message);
            self.send(Wire { from, to, ecn: 0, marked: false, stride: bytes.len(), bytes, stray: None }, out);
        }
        works
    }

    /// Sleeps until something is due.
    fn sleep(&mut self, out: &mut Outside) {
        let Some(due) = self.device.poll_timeout() else { return };
        if due <= self.now(out.now).mono {
            out.check(Err(format!("g{}: a deadline in the past", self.index)));
        }
        let at = self.outside(due);
        self.wake_control_at(at, out);
    }
}
