//! What a worker knows of each peer: the cell that it shares with the others.

use std::hint::black_box;
use std::sync::Arc;

use ringfort_core::device::HandshakeReason;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::looped::{Mark, Nesting};
use ringfort_core::time::Time;

use crate::PeerCell;

/// One peer, as one worker sees it.
pub(crate) struct Peer(Arc<PeerCell>);

/// All peers, by the index in their [`PeerId`].
#[derive(Default)]
pub(crate) struct PeerTable {
    slots: Vec<Option<Peer>>,
}

impl PeerTable {
    pub(crate) fn add(&mut self, cell: Arc<PeerCell>) {
        let index = cell.id().index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Peer(cell));
    }

    pub(crate) fn remove(&mut self, id: PeerId) {
        if self.get(id).is_some() {
            self.slots[id.index as usize] = None;
        }
    }

    /// The peer, unless it is gone, or its place has gone to another.
    #[inline]
    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        let peer = self.slots.get(id.index as usize)?.as_ref()?;
        (peer.0.id() == id).then_some(peer)
    }

    /// Reads where each of these peers is, so the core waits for all of them at once. Without this it would wait for
    /// one after the other: asking a peer for its endpoint or its session takes locked instructions, and no core looks
    /// ahead of those.
    pub(crate) fn touch(&self, ids: &[Option<PeerId>]) {
        let peers = ids.iter().flatten().filter_map(|&id| self.get(id));
        // The answer is of no interest.
        black_box(peers.filter(|peer| peer.0.shared().handshake.is(0)).count());
    }

    /// The peer in a slot, whoever it is.
    pub(crate) fn at(&self, index: u32) -> Option<&Peer> {
        self.slots.get(index as usize)?.as_ref()
    }

    /// The peer, if it can be sent to as soon as there is a key.
    ///
    /// # Errors
    /// [`DropReason::Down`] if it is gone, [`DropReason::NoEndpoint`] if nobody knows where it is.
    #[inline]
    pub(crate) fn reachable(&self, id: PeerId) -> Result<&Peer, DropReason> {
        match self.get(id) {
            None => Err(DropReason::Down),
            Some(peer) if !peer.0.shared().endpoint.is_known() => Err(DropReason::NoEndpoint),
            Some(peer) => Ok(peer),
        }
    }
}

impl Peer {
    #[inline]
    pub(crate) const fn cell(&self) -> &Arc<PeerCell> {
        &self.0
    }

    /// Whether a datagram with this mark would come back if it were sent to the peer: it is one of ours to it, or what
    /// we send to it travels in that.
    pub(crate) fn closes_a_circle(&self, mark: Mark, nesting: &Nesting) -> bool {
        match mark {
            Mark::Session(index) => {
                let sending = self.0.sending();
                sending.session().is_some_and(|session| nesting.closes_a_circle(index, session.remote_index()))
            }
            Mark::Handshake(index) => self.0.shared().handshake.is(index),
        }
    }

    /// Why a packet has to wait.
    pub(crate) fn lacks(&self) -> HandshakeReason {
        match self.0.sending().session() {
            // Control does not know that the session refuses, and would not believe that there is none.
            Some(session) => HandshakeReason::KeyAging { local_index: session.local_index() },
            None => HandshakeReason::NoSession,
        }
    }

    /// Whether there is a session to send with.
    #[inline]
    pub(crate) fn has_session(&self, now: Time) -> bool {
        self.0.sending().session().is_some_and(|session| session.usable(now))
    }
}

#[cfg(test)]
mod tests {
    use ringfort_core::cell::PeerShared;

    use super::*;

    fn peer(table: &mut PeerTable, index: u32, generation: u32) -> PeerId {
        let id = PeerId { index, generation };
        table.add(Arc::new(PeerCell::new(id, Arc::new(PeerShared::new(1)))));
        id
    }

    #[test]
    fn a_name_of_an_earlier_occupant_finds_nobody() {
        let mut table = PeerTable::default();
        let old = peer(&mut table, 3, 0);
        assert!(table.get(old).is_some());
        table.remove(old);
        assert!(table.get(old).is_none());
        let new = peer(&mut table, 3, 1);
        assert!(table.get(old).is_none());
        table.remove(old);
        assert!(table.get(new).is_some());
    }
}
