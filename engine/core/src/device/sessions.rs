//! Which of a peer's sessions may be used: the current one to send, former ones to receive, and the next one, that we
//! answered for, to learn whether the peer got our answer.
//!
//! The kernel's `noise.c` keeps one former session, and gives it up as soon as it answers. When both sides asked at once,
//! or an answer was lost, that one may be the session that the peer is sending with, and packets are lost in the next
//! handshake. Here two are kept, each until it has expired or is the third: then none is lost. In the usual course, a new
//! session every 120 s of which each lasts 180 s, that is one as well.

use super::api::Action;
use super::outbox::Outbox;
use crate::constants::REJECT_AFTER_TIME;
use crate::crypto::Key;
use crate::ids::PeerId;
use crate::noise::NewSession;
use crate::suite::Suite;
use crate::time::Time;

/// A session whose receiving half is with its worker.
pub(super) struct Session {
    pub local_index: u32,
    remote_index: u32,
    created: Time,
    initiator: bool,
    suite: Suite,
    /// The key to send with, until it goes to the workers.
    send: Option<Key>,
}

#[derive(Default)]
pub(super) struct Sessions {
    current: Option<Session>,
    next: Option<Session>,
    /// Sessions that only receive, the latest first.
    former: [Option<Session>; 2],
}

impl Sessions {
    /// The session to send with.
    pub const fn current(&self) -> Option<&Session> {
        self.current.as_ref()
    }

    /// We asked and were answered: both sides have the session. It sends from now on, and tells the peer so.
    pub fn begin_as_initiator(&mut self, peer: PeerId, new: NewSession, now: Time, out: &mut Outbox) {
        let mut session = install_receive(peer, new, now, out);
        install_send(peer, &mut session, true, out);
        let old = self.current.replace(session);
        self.demote(old, now, out);
        // If we have answered as well, the peer may send with that session, or still with the old one.
        if let Some(mut next) = self.next.take() {
            next.send = None;
            self.demote(Some(next), now, out);
        }
    }

    /// We were asked and answer: we may receive, and send once we did.
    pub fn begin_as_responder(&mut self, peer: PeerId, new: NewSession, now: Time, out: &mut Outbox) {
        let session = install_receive(peer, new, now, out);
        retire(self.next.replace(session), out);
        self.retire_expired(now, out);
    }

    /// Something authenticated came under the next session: the peer has it. False if `local_index` is not that session.
    pub fn confirm(&mut self, peer: PeerId, local_index: u32, now: Time, out: &mut Outbox) -> bool {
        let Some(mut session) = self.next.take_if(|next| next.local_index == local_index) else { return false };
        install_send(peer, &mut session, false, out);
        let old = self.current.replace(session);
        self.demote(old, now, out);
        true
    }

    /// Forgets all.
    pub fn clear(&mut self, peer: PeerId, out: &mut Outbox) {
        // The next one first: it could otherwise still be confirmed.
        retire(self.next.take(), out);
        for former in &mut self.former {
            retire(former.take(), out);
        }
        if self.current.is_some() {
            retire(self.current.take(), out);
            out.push(Action::RetireSend { peer });
        }
    }

    /// Lets a session only receive from now on, and retires the oldest of those if they become too many.
    fn demote(&mut self, session: Option<Session>, now: Time, out: &mut Outbox) {
        self.retire_expired(now, out);
        if session.is_some() {
            let [latest, before] = &mut self.former;
            retire(std::mem::replace(before, std::mem::replace(latest, session)), out);
        }
    }

    fn retire_expired(&mut self, now: Time, out: &mut Outbox) {
        for former in &mut self.former {
            retire(former.take_if(|session| !session.valid(now, 0)), out);
        }
    }
}

impl Session {
    /// Whether the session is valid for at least another `margin_secs` seconds.
    pub fn valid(&self, now: Time, margin_secs: u64) -> bool {
        now.since(self.created).as_secs() + margin_secs < REJECT_AFTER_TIME.as_secs()
    }
}

fn install_receive(peer: PeerId, new: NewSession, created: Time, out: &mut Outbox) -> Session {
    let NewSession { keys, local_index, remote_index, initiator, suite } = new;
    let (key, confirmed) = (keys.receive, initiator);
    out.push(Action::InstallReceive { peer, local_index, suite, key, created, initiator, confirmed });
    Session { local_index, remote_index, created, initiator, suite, send: Some(keys.send) }
}

fn install_send(peer: PeerId, session: &mut Session, confirm: bool, out: &mut Outbox) {
    let &mut Session { local_index, remote_index, created, initiator, suite, ref mut send } = session;
    let key = send.take().expect("a key goes to the workers when its session becomes the current one, which is once");
    out.push(Action::InstallSend { peer, local_index, remote_index, suite, key, created, initiator, confirm });
}

fn retire(session: Option<Session>, out: &mut Outbox) {
    if let Some(Session { local_index, .. }) = session {
        out.indices.release(local_index);
        out.push(Action::RetireReceive { local_index });
    }
}
