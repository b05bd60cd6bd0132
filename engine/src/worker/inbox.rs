//! What control says, and what other workers hand over.

use super::WorkerError;
use super::budget::line;
use super::turn::Worker;
use crate::link::{Handoff, Mail, SessionMail};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, TAG_LEN};

/// Mail about sessions read in one turn, unless data comes for a session that is not known.
const SESSIONS_PER_TURN: usize = 256;
/// Other mail read in one turn: a configuration of 100,000 peers must not stall the packets.
pub(super) const MAIL_PER_TURN: usize = 64;
/// Trains taken over in one turn.
const HANDOFFS_PER_TURN: usize = 64;

impl Worker {
    /// Reads a bounded part of the inbox; what is left is read in the next turn, which then does not sleep.
    ///
    /// # Errors
    /// What makes going on impossible.
    pub(super) fn read_inbox(&mut self) -> Result<(), WorkerError> {
        let link = self.link.clone();
        let inbox = &link.workers[self.index];
        inbox.heard();
        self.inbox_waiting = self.read_sessions(SESSIONS_PER_TURN);
        for _ in 0..MAIL_PER_TURN {
            let Some(mail) = inbox.next_mail() else { break };
            self.read(mail)?;
            self.inbox_waiting = true;
        }
        for _ in 0..HANDOFFS_PER_TURN {
            let Some(Handoff { parcel, stride, endpoint, ecn }) = inbox.next_handoff() else { break };
            self.make_room_for_train();
            self.train(parcel.arrive(), stride, endpoint, ecn, true);
            self.inbox_waiting = true;
        }
        Ok(())
    }

    /// Takes over receiving halves, and lets go of them, up to `most` of either. True: there may be more.
    pub(super) fn read_sessions(&mut self, most: usize) -> bool {
        let Self { link, sessions, index, .. } = self;
        let inbox = &link.workers[*index];
        for _ in 0..most {
            match inbox.next_session() {
                Some(SessionMail::Begin(receiver)) => _ = sessions.insert(receiver.session.local_index(), receiver),
                Some(SessionMail::End { local_index }) => _ = sessions.remove(&local_index),
                None => return false,
            }
        }
        true
    }

    fn read(&mut self, mail: Mail) -> Result<(), WorkerError> {
        match mail {
            Mail::AddPeer(cell) => self.peers.add(cell),
            Mail::RemovePeer { peer } => {
                // What was read for it in this turn goes with it.
                self.flush();
                self.peers.remove(peer);
                self.drop_staged(peer, DropReason::Down);
            }
            Mail::Routes { routes, version } => {
                self.routes = routes;
                self.link.control.acknowledge_routes(self.index, version);
            }
            Mail::SendStaged { peer } => self.send_staged(peer),
            Mail::SendKeepalive { peer } => self.send_something(peer),
            Mail::DropStaged { peer } => self.drop_staged(peer, DropReason::NoSession),
            Mail::Sockets(Some(sockets)) => {
                let rebound = self.udp.rebind(&mut self.ring, &sockets);
                rebound.map_err(|error| WorkerError::ring("use new UDP sockets", error))?;
            }
            Mail::Sockets(None) => {
                // The interface is down. What was read after control said what to drop goes as well.
                self.stats.count_drop(DropReason::Down, self.staging.clear());
                let closed = self.udp.close(&mut self.ring);
                closed.map_err(|error| WorkerError::ring("let go of the UDP sockets", error))?;
            }
            Mail::Mtu(mtu) => self.mtu = mtu as usize,
            Mail::Stop => self.stopping = true,
            #[cfg(test)]
            Mail::Panic => panic!("a test asked for it"),
        }
        Ok(())
    }

    /// Sends what waits for a peer, or an empty packet if nothing does.
    fn send_something(&mut self, id: PeerId) {
        match self.peers.get_mut(id) {
            Some(_) if self.staging.waiting(id) > 0 => self.send_staged(id),
            Some(_) => self.send_keepalive(id),
            None => {}
        }
    }

    fn send_keepalive(&mut self, id: PeerId) {
        if self.pool.available(line::KEEPALIVES) == 0 {
            self.make_room();
        }
        let Some(mut view) = self.pool.claim_for(line::KEEPALIVES) else {
            self.stats.count_drop(DropReason::NoSlot, 1);
            return;
        };
        view.truncate(DATA_HEADER_LEN);
        const { assert!(DATA_HEADER_LEN + TAG_LEN == DATA_LEN_MIN, "a keepalive is header and tag") };
        self.admit(id, view, 0);
        self.flush();
    }
}
