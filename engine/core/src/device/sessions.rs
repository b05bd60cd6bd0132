//! Which of a peer's sessions may be used: the previous one to receive, the current one to send, and the next one, that
//! we answered for, to learn whether the peer got our answer (the kernel's `noise.c` has the same three).

use super::api::Action;
use super::outbox::Outbox;
use crate::constants::REJECT_AFTER_TIME;
use crate::crypto::Key;
use crate::ids::PeerId;
use crate::noise::NewSession;
use crate::time::Time;

/// A session whose receiving half is with its worker.
pub(super) struct Session {
    pub local_index: u32,
    remote_index: u32,
    created: Time,
    initiator: bool,
    /// The key to send with, until it goes to the workers.
    send: Option<Key>,
}

#[derive(Default)]
pub(super) struct Sessions {
    previous: Option<Session>,
    current: Option<Session>,
    next: Option<Session>,
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
        // If we have answered as well, that session may be what the peer sends with: it must go on receiving.
        let previous = match self.next.take() {
            Some(mut next) => {
                next.send = None;
                retire(old, out);
                Some(next)
            }
            None => old,
        };
        retire(std::mem::replace(&mut self.previous, previous), out);
    }

    /// We were asked and answer: we may receive, and send once we did.
    pub fn begin_as_responder(&mut self, peer: PeerId, new: NewSession, now: Time, out: &mut Outbox) {
        let session = install_receive(peer, new, now, out);
        retire(self.next.replace(session), out);
        retire(self.previous.take(), out);
    }

    /// Something authenticated came under the next session: the peer has it. False if `local_index` is not that session.
    pub fn confirm(&mut self, peer: PeerId, local_index: u32, out: &mut Outbox) -> bool {
        let Some(mut session) = self.next.take_if(|next| next.local_index == local_index) else { return false };
        install_send(peer, &mut session, false, out);
        let old = self.current.replace(session);
        retire(std::mem::replace(&mut self.previous, old), out);
        true
    }

    /// Forgets all.
    pub fn clear(&mut self, peer: PeerId, out: &mut Outbox) {
        // The next one first: it could otherwise still be confirmed.
        retire(self.next.take(), out);
        retire(self.previous.take(), out);
        if self.current.is_some() {
            retire(self.current.take(), out);
            out.push(Action::RetireSend { peer });
        }
    }
}

impl Session {
    /// Whether the session will send for at least another `margin_secs` seconds.
    pub fn sends(&self, now: Time, margin_secs: u64) -> bool {
        now.since(self.created).as_secs() + margin_secs < REJECT_AFTER_TIME.as_secs()
    }
}

fn install_receive(peer: PeerId, new: NewSession, created: Time, out: &mut Outbox) -> Session {
    let NewSession { keys, local_index, remote_index, initiator } = new;
    let (key, confirmed) = (keys.receive, initiator);
    out.push(Action::InstallReceive { peer, local_index, key, created, initiator, confirmed });
    Session { local_index, remote_index, created, initiator, send: Some(keys.send) }
}

fn install_send(peer: PeerId, session: &mut Session, confirm: bool, out: &mut Outbox) {
    let &mut Session { local_index, remote_index, created, initiator, ref mut send } = session;
    let key = send.take().expect("a key goes to the workers when its session becomes the current one, which is once");
    out.push(Action::InstallSend { peer, local_index, remote_index, key, created, initiator, confirm });
}

fn retire(session: Option<Session>, out: &mut Outbox) {
    if let Some(Session { local_index, .. }) = session {
        out.indices.release(local_index);
        out.push(Action::RetireReceive { local_index });
    }
}
