//! What a worker knows of each peer: the cell that it shares with the others.

use crate::link::PeerCell;
use ring_buffers::View;
use ringfort_aead::{Geometry, Source};
use ringfort_core::device::HandshakeReason;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::looped::{Mark, Nesting};
use ringfort_core::time::Time;
use ringfort_core::wire::write_data_header;
use std::sync::Arc;

/// One peer, as one worker sees it.
pub(super) struct Peer {
    pub(super) cell: Arc<PeerCell>,
}

/// All peers, by the index in their [`PeerId`].
#[derive(Default)]
pub(super) struct PeerTable {
    slots: Vec<Option<Box<Peer>>>,
}

impl PeerTable {
    pub(super) fn add(&mut self, cell: Arc<PeerCell>) {
        let index = cell.id().index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Box::new(Peer { cell }));
    }

    pub(super) fn remove(&mut self, id: PeerId) {
        if self.get_mut(id).is_some() {
            self.slots[id.index as usize] = None;
        }
    }

    /// The peer, unless it is gone, or its place has gone to another.
    #[inline]
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        let peer = self.slots.get_mut(id.index as usize)?.as_deref_mut()?;
        (peer.cell.id() == id).then_some(peer)
    }

    /// The peer, if it can be sent to as soon as there is a key.
    ///
    /// # Errors
    /// [`DropReason::Down`] if it is gone, [`DropReason::NoEndpoint`] if nobody knows where it is.
    #[inline]
    pub(super) fn reachable(&mut self, id: PeerId) -> Result<&mut Peer, DropReason> {
        match self.get_mut(id) {
            None => Err(DropReason::Down),
            Some(peer) if !peer.cell.shared().endpoint.is_known() => Err(DropReason::NoEndpoint),
            Some(peer) => Ok(peer),
        }
    }
}

impl Peer {
    /// Whether a datagram with this mark would come back if it were sent to the peer: it is one of ours to it, or what we
    /// send to it travels in that.
    pub(super) fn closes_a_circle(&self, mark: Mark, nesting: &Nesting) -> bool {
        match mark {
            Mark::Session(index) => {
                let sending = self.cell.sending();
                sending.session().is_some_and(|session| nesting.closes_a_circle(index, session.remote_index()))
            }
            Mark::Handshake(index) => self.cell.shared().handshake.is(index),
        }
    }

    /// Why a packet has to wait.
    pub(super) fn lacks(&self) -> HandshakeReason {
        match self.cell.sending().session() {
            // Control does not know that the session refuses, and would not believe that there is none.
            Some(session) => HandshakeReason::KeyAging { local_index: session.local_index() },
            None => HandshakeReason::NoSession,
        }
    }

    /// Whether there is a session to send with.
    pub(super) fn has_session(&self, now: Time) -> bool {
        self.cell.sending().session().is_some_and(|session| session.usable(now))
    }

    /// Seals a train of `sources` into `train`, data headers included. `None`: there is no session that can, and the
    /// packets must wait for one.
    pub(super) fn seal(&self, mut train: View, geometry: Geometry, sources: &[Source<'_>], now: Time) -> Option<View> {
        let sending = self.cell.sending();
        let (session, first) = sending.reserve(now, geometry.count())?;
        train.truncate(geometry.total_len());
        for (segment, counter) in train.chunks_mut(geometry.stride()).zip(first..) {
            let header = segment.first_chunk_mut().expect("a segment is at least header and tag");
            write_data_header(header, session.remote_index(), counter);
        }
        let sealed = session.key().seal_train_from(first, sources, &mut train, geometry);
        sealed.expect("geometry and sources were made for each other, and for a jumbo slot");
        Some(train)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfort_core::cell::PeerShared;

    fn peer(table: &mut PeerTable, index: u32, generation: u32) -> PeerId {
        let id = PeerId { index, generation };
        table.add(Arc::new(PeerCell::new(id, Arc::new(PeerShared::new(1)))));
        id
    }

    #[test]
    fn a_name_of_an_earlier_occupant_finds_nobody() {
        let mut table = PeerTable::default();
        let old = peer(&mut table, 3, 0);
        assert!(table.get_mut(old).is_some());
        table.remove(old);
        assert!(table.get_mut(old).is_none());
        let new = peer(&mut table, 3, 1);
        assert!(table.get_mut(old).is_none());
        table.remove(old);
        assert!(table.get_mut(new).is_some());
    }
}
