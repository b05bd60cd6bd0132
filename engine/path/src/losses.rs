//! What is thrown away of one peer's packets is noted with the peer, and what has no peer by its destination. Only the
//! packets that are dropped pay for it.

use std::net::IpAddr;
use std::time::Duration;

use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::packet;
use ringfort_core::peer_drops::{PeerDrops, SendError};
use ringfort_core::time::Time;

use crate::tap::{Datagrams, Direction};
use crate::{DataPath, Unsent, Watch};

/// A worker reports one destination without a peer in so long, whatever comes.
const UNROUTED_INTERVAL: Duration = Duration::from_millis(250);

/// When a destination without a peer may be reported again.
#[derive(Debug, Default)]
pub(crate) struct UnroutedReports {
    next: Time,
}

impl<W: Watch> DataPath<W> {
    /// Throws away `n` packets of a peer.
    #[cold]
    pub fn drop_of(&mut self, now: Time, peer: PeerId, reason: DropReason, n: usize) {
        self.counters.drop(reason, n);
        self.note_drop(peer, reason, |drops| drops.note(reason, n as u64, now));
    }

    /// Throws away `n` packets that came under one of our sessions.
    #[cold]
    pub(crate) fn drop_received(&mut self, now: Time, local_index: u32, reason: DropReason, n: usize) {
        self.counters.drop(reason, n);
        if let Some(receiver) = self.sessions.get(&local_index) {
            let peer = receiver.cell().id();
            if receiver.cell().shared().drops.note(reason, n as u64, now) {
                self.report(PeerEvent::Dropped { peer, reason }, Some(local_index));
            }
        }
    }

    /// Throws away a packet that came from a peer, and is not what the peer may send.
    #[cold]
    pub(crate) fn drop_inner(&mut self, now: Time, peer: PeerId, reason: DropReason, inner: &[u8]) {
        if let Some(tap) = &mut self.tap {
            // Without the padding, as far as the packet says how long it is.
            let len = packet::parse(inner).map_or(inner.len(), |inner| inner.len);
            tap.dropped(now, Direction::In, Some(peer), reason, [&inner[..len], &[]]);
        }
        match packet::parse(inner) {
            Ok(inner) if reason == DropReason::SourceNotAllowed => {
                self.counters.drop(reason, 1);
                self.note_drop(peer, reason, |drops| drops.note_source(inner.source, now));
            }
            _ => self.drop_of(now, peer, reason, 1),
        }
    }

    /// Datagrams to a peer did not leave.
    #[cold]
    pub fn handle_send_failed(&mut self, now: Time, peer: PeerId, error: SendError, datagrams: usize) {
        self.counters.drop(DropReason::SendFailed, datagrams);
        self.note_drop(peer, DropReason::SendFailed, |drops| drops.note_send_error(error, datagrams as u64, now));
    }

    /// Shows whoever looks on that datagrams will not leave, which were shown before as they left the data path. To
    /// count them is up to the owner.
    #[cold]
    pub fn show_unsent(&mut self, now: Time, unsent: Unsent<'_>) {
        let Unsent { peer, bytes, stride, endpoint, ecn, reason } = unsent;
        let peer = (peer != PeerId::NOBODY).then_some(peer);
        if let Some(tap) = self.tap.as_mut().filter(|tap| tap.wants_peer(peer)) {
            let datagrams = Datagrams { peer, stride, endpoint: Some(endpoint), ecn };
            tap.sent(now, &datagrams, bytes, Some(reason));
        }
    }

    /// Throws away `n` packets from inside that no peer can have.
    #[cold]
    pub(crate) fn drop_turned_back(&mut self, now: Time, reason: DropReason, destination: IpAddr, n: usize) {
        match self.routes.lookup(destination) {
            Some(peer) => self.drop_of(now, peer, reason, n),
            None => {
                self.counters.drop(reason, n);
                if reason == DropReason::NoRoute && now >= self.unrouted.next {
                    self.unrouted.next = now + UNROUTED_INTERVAL;
                    self.report(PeerEvent::Unrouted { destination }, None);
                }
            }
        }
    }

    fn note_drop(&mut self, peer: PeerId, reason: DropReason, note: impl FnOnce(&PeerDrops) -> bool) {
        if self.peers.get(peer).is_some_and(|known| note(&known.cell().shared().drops)) {
            self.report(PeerEvent::Dropped { peer, reason }, None);
        }
    }
}
