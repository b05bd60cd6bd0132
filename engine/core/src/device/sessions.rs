//! Which of a peer's sessions may be used: the current one to send, former ones to receive, and the next one, that we
//! answered for, to learn whether the peer got our answer.
//!
//! The kernel's `noise.c` keeps one former session, and gives it up as soon as it answers. When both sides asked at
//! once, or an answer was lost, that one may be the session that the peer is sending with, and packets are lost in the
//! next handshake. Here three are kept, each until it has expired or is the fourth: then none is lost. When both sides
//! ask at once again and again, each round makes two sessions, and the peer may still send under either of the round
//! before: with the one that is sent under from now on these are four. In the usual course, a new session every 120 s
//! of which each lasts 180 s, one is kept as well.
//!
//! Sessions have the order of their *initiations*. One of ours may be answered late, by a peer that has restarted since
//! and has asked us meanwhile. That answer must not take the place of what the peer asked for later. When both sides
//! ask at once, each ends with the session that the other asked for, as soon as the other uses it.

use super::api::Action;
use super::outbox::Outbox;
use crate::cell::SessionNumber;
use crate::constants::{FORMER_SESSIONS, REJECT_AFTER_TIME};
use crate::handover::Resumed;
use crate::ids::PeerId;
use crate::noise::NewSession;
use crate::on_demand::initial;
use crate::part::parts;
use crate::time::Time;

/// A session whose halves are with the workers.
#[derive(Clone)]
pub(super) struct Session {
    pub local_index: u32,
    number: SessionNumber,
    pub created: Time,
    /// As the handshake has made it, for a process that takes over from this one: what a cipher makes of a key is of no
    /// use there.
    made: Box<NewSession>,
}

parts!(Session { local_index, number, created, made });

#[derive(Clone, Default)]
pub(super) struct Sessions {
    current: Option<Session>,
    next: Option<Session>,
    /// The next one before that: its first message may be at its worker just now, and make it the one to send with.
    replaced: Option<Session>,
    /// Sessions that only receive, the latest first.
    former: [Option<Session>; FORMER_SESSIONS],
    /// The number that was given last.
    last_number: SessionNumber,
    /// The number of the session that our latest initiation asks for.
    asked: SessionNumber,
}

initial!(Sessions);
parts!(Sessions { current, next, replaced, former, last_number, asked });

impl Sessions {
    /// The session to send with.
    pub const fn current(&self) -> Option<&Session> {
        self.current.as_ref()
    }

    /// Whether we answered for a session, and the peer has not used it yet.
    pub const fn awaits_confirmation(&self) -> bool {
        self.next.is_some()
    }

    /// We ask for a session, which has its number from now on.
    pub fn ask(&mut self) {
        self.asked = self.number();
    }

    /// We asked and were answered: the peer had the session when it answered. It sends from now on, and tells the peer
    /// so; unless the peer has asked after us, and has proved to have what we answered.
    pub fn begin_as_initiator(&mut self, peer: PeerId, new: NewSession, now: Time, out: &mut Outbox) {
        let number = self.asked;
        let session = begin(peer, number, new, now, out);
        out.push(Action::SendStaged { peer, confirm: Some(session.local_index) });
        let is_late = self.current.as_ref().is_some_and(|current| current.number > number);
        let receives = if is_late { Some(session) } else { self.current.replace(session) };
        self.demote(receives, now, out);
        // What we answered before we asked: the peer may send with that session.
        let earlier = |session: &mut Session| session.number < number;
        if let Some(next) = self.next.take_if(earlier) {
            self.demote(Some(next), now, out);
        }
        retire(self.replaced.take_if(earlier), out);
    }

    /// We were asked and answer: we may receive, and send once we did.
    pub fn begin_as_responder(&mut self, peer: PeerId, new: NewSession, now: Time, out: &mut Outbox) {
        let number = self.number();
        let session = begin(peer, number, new, now, out);
        let before = self.next.replace(session);
        retire(std::mem::replace(&mut self.replaced, before), out);
        self.retire_expired(now, out);
    }

    /// Takes notice that the workers send under a session that we answered for, if `confirmed` says that the peer has
    /// it. True if that is news.
    pub fn confirm(&mut self, peer: PeerId, confirmed: SessionNumber, now: Time, out: &mut Outbox) -> bool {
        let has_it = |session: &mut Session| session.number <= confirmed;
        let Some(session) = self.next.take_if(has_it).or_else(|| self.replaced.take_if(has_it)) else { return false };
        if self.next.is_none() {
            retire(self.replaced.take(), out);
        }
        out.push(Action::SendStaged { peer, confirm: None });
        let old = self.current.replace(session);
        self.demote(old, now, out);
        true
    }

    /// All sessions that there are.
    pub fn all(&self) -> impl Iterator<Item = &Session> {
        let Self { current, next, replaced, former, .. } = self;
        [current, next, replaced].into_iter().chain(former).flatten()
    }

    /// Forgets all.
    pub fn clear(&mut self, peer: PeerId, out: &mut Outbox) {
        // The next one is perhaps confirmed at this moment.
        let may_send = self.current.is_some() || self.next.is_some() || self.replaced.is_some();
        retire(self.next.take(), out);
        retire(self.replaced.take(), out);
        for former in &mut self.former {
            retire(former.take(), out);
        }
        retire(self.current.take(), out);
        if may_send {
            out.push(Action::EndSessions { peer, number: self.number() });
            // An initiation that goes on asks for a session after that end.
            self.ask();
        }
    }

    fn number(&mut self) -> SessionNumber {
        self.last_number = self.last_number.next();
        self.last_number
    }

    /// Lets a session only receive from now on, and retires the oldest of those if they become too many.
    fn demote(&mut self, session: Option<Session>, now: Time, out: &mut Outbox) {
        self.retire_expired(now, out);
        if session.is_some() {
            let oldest = self.former.iter_mut().fold(session, |newer, place| std::mem::replace(place, newer));
            retire(oldest, out);
        }
    }

    fn retire_expired(&mut self, now: Time, out: &mut Outbox) {
        retire(self.replaced.take_if(|session| !session.valid(now, 0)), out);
        for former in &mut self.former {
            retire(former.take_if(|session| !session.valid(now, 0)), out);
        }
    }
}

impl Session {
    /// The session goes on here, and was so far elsewhere. False: its index is not its own.
    pub fn resume(&self, peer: PeerId, resumed: Resumed, out: &mut Outbox) -> bool {
        let Self { local_index, number, created, made } = self;
        let session = made.clone();
        if *local_index != made.local_index || !out.indices.claim_this(*local_index, peer) {
            return false;
        }
        let (number, created, resumed) = (*number, *created, Box::new(resumed));
        out.push(Action::ResumeSession { peer, number, created, session, resumed });
        true
    }

    /// Whether the session is valid for at least another `margin_secs` seconds.
    pub fn valid(&self, now: Time, margin_secs: u64) -> bool {
        now.since(self.created).as_secs() + margin_secs < REJECT_AFTER_TIME.as_secs()
    }
}

fn begin(peer: PeerId, number: SessionNumber, new: NewSession, created: Time, out: &mut Outbox) -> Session {
    let (local_index, made) = (new.local_index, Box::new(new));
    out.push(Action::BeginSession { peer, number, created, session: made.clone() });
    Session { local_index, number, created, made }
}

fn retire(session: Option<Session>, out: &mut Outbox) {
    if let Some(Session { local_index, .. }) = session {
        out.indices.release(local_index);
        out.push(Action::RetireReceive { local_index });
    }
}
