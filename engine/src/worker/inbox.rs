//! What control says, and what other workers hand over.

use super::turn::Worker;
use crate::link::{Handoff, Mail, Sending, owner};
use ring_buffers::SlotClass;
use ringfort_core::drops::Drop;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, TAG_LEN};
use std::sync::Arc;

/// Mail read in one turn: a configuration of 100,000 peers must not stall the packets.
const MAIL_PER_TURN: usize = 64;
/// Trains taken over in one turn.
const HANDOFFS_PER_TURN: usize = 64;

impl Worker {
    /// Reads a bounded part of the inbox; what is left is read in the next turn, which then does not sleep.
    ///
    /// # Errors
    /// What makes going on impossible.
    pub(super) fn read_inbox(&mut self) -> Result<(), String> {
        let link = self.link.clone();
        let inbox = &link.workers[self.index];
        inbox.heard();
        self.inbox_waiting = false;
        for _ in 0..MAIL_PER_TURN {
            let Some(mail) = inbox.next_mail() else { break };
            self.read(mail)?;
            self.inbox_waiting = true;
        }
        for _ in 0..HANDOFFS_PER_TURN {
            let Some(Handoff { parcel, stride, endpoint, ecn }) = inbox.next_handoff() else { break };
            self.train(parcel.arrive(), stride, endpoint, ecn, true);
            self.inbox_waiting = true;
        }
        Ok(())
    }

    fn read(&mut self, mail: Mail) -> Result<(), String> {
        match mail {
            Mail::AddPeer { peer, shared } => self.peers.add(peer, shared),
            Mail::RemovePeer { peer } => {
                // What was read for it in this turn goes with it.
                self.flush();
                self.peers.remove(peer, &self.stats);
            }
            Mail::SetEndpoint { peer, endpoint } => self.set_endpoint(peer, endpoint),
            Mail::Routes { routes, version } => {
                self.routes = routes;
                self.link.control.acknowledge_routes(self.index, version);
            }
            Mail::InstallReceive(session) => {
                self.sessions.insert(session.local_index(), session);
            }
            Mail::RetireReceive { local_index } => {
                self.sessions.remove(&local_index);
            }
            Mail::InstallSend { peer, session, confirm } => self.install_send(peer, session, confirm),
            Mail::RetireSend { peer } => {
                self.flush();
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.sending = None;
                }
            }
            Mail::SendKeepalive { peer } => self.send_something(peer),
            Mail::DropStaged { peer } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.drop_staged(Drop::NoSession, &self.stats);
                }
            }
            Mail::Sockets(Some(sockets)) => {
                self.udp.rebind(&mut self.ring, &sockets).map_err(|e| e.to_string())?;
            }
            Mail::Sockets(None) => self.udp.close(&mut self.ring).map_err(|e| e.to_string())?,
            Mail::Mtu(mtu) => self.mtu = mtu as usize,
            Mail::Stop => self.stopping = true,
        }
        Ok(())
    }

    fn set_endpoint(&mut self, peer: PeerId, endpoint: Option<Endpoint>) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.endpoint = endpoint;
        }
    }

    fn install_send(&mut self, id: PeerId, session: Arc<Sending>, confirm: bool) {
        // Packets that were routed in this turn leave under the key that they were promised.
        self.flush();
        let mine = owner(session.local_index(), self.link.workers.len()) == self.index;
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.sending = Some(session);
        if confirm && mine {
            self.send_something(id);
        } else {
            self.send_staged(id);
        }
    }

    /// Sends what waits for a peer, or an empty packet if nothing does.
    fn send_something(&mut self, id: PeerId) {
        match self.peers.get_mut(id) {
            Some(peer) if peer.staged_count() > 0 => self.send_staged(id),
            Some(_) => self.send_keepalive(id),
            None => {}
        }
    }

    fn send_keepalive(&mut self, id: PeerId) {
        let Some(mut view) = self.pool.claim(SlotClass::Packet) else {
            self.stats.count_drop(Drop::NoSlot, 1);
            return;
        };
        view.truncate(DATA_HEADER_LEN);
        const { assert!(DATA_HEADER_LEN + TAG_LEN == DATA_LEN_MIN, "a keepalive is header and tag") };
        self.admit(id, view, 0);
        self.flush();
    }
}
