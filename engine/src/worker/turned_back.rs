//! Packets from the TUN that no peer can have.

use super::turn::Worker;
use ringfort_core::drops::Drop;
use ringfort_core::ids::PeerId;
use ringfort_core::looped;
use std::net::IpAddr;

impl Worker {
    /// The peer that a packet, or a super-packet, is for.
    ///
    /// # Errors
    /// [`Drop::NoRoute`], [`Drop::Down`], [`Drop::NoEndpoint`], or [`Drop::LoopedEndpoint`] for a datagram of our own.
    #[inline]
    pub(super) fn way_of(&mut self, packet: &[u8], destination: IpAddr) -> Result<PeerId, Drop> {
        let id = self.routes.lookup(destination).ok_or(Drop::NoRoute)?;
        let peer = self.peers.reachable(id)?;
        if looped::mark(packet).is_some_and(|mark| peer.closes_a_circle(mark, &self.link.nesting)) {
            return Err(Drop::LoopedEndpoint);
        }
        Ok(id)
    }
}
