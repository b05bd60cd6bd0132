//! Packets from the TUN that no peer can have: which they are, and what their senders are told.

use super::budget::line;
use super::turn::Worker;
use ringfort_core::drops::DropReason;
use ringfort_core::icmp::{self, ANSWER_LEN_MAX, QUOTE_LEN_MAX};
use ringfort_core::ids::PeerId;
use ringfort_core::looped;
use std::net::IpAddr;
use tun_uring::{Segments, Transmit, VNET_HDR_LEN};

impl Worker {
    /// The peer that a packet, or a super-packet, is for.
    ///
    /// # Errors
    /// [`DropReason::NoRoute`], [`DropReason::Down`], [`DropReason::NoEndpoint`], or [`DropReason::LoopedEndpoint`] for a datagram of our own.
    #[inline]
    pub(super) fn way_of(&mut self, packet: &[u8], destination: IpAddr) -> Result<PeerId, DropReason> {
        let id = self.routes.lookup(destination).ok_or(DropReason::NoRoute)?;
        let peer = self.peers.reachable(id)?;
        if looped::mark(packet).is_some_and(|mark| peer.closes_a_circle(mark, &self.link.nesting)) {
            return Err(DropReason::LoopedEndpoint);
        }
        Ok(id)
    }

    /// Drops a packet, and tells its sender, as the kernel's WireGuard does (`wg_xmit` in `drivers/net/wireguard/device.c`).
    #[cold]
    pub(super) fn turn_back(&mut self, reason: DropReason, packet: &[u8]) {
        self.stats.count_drop(reason, 1);
        self.tell_sender(reason, packet);
    }

    /// The same for all segments of a super-packet, of which the first is what the sender is told about.
    #[cold]
    pub(super) fn turn_back_super(&mut self, reason: DropReason, mut segments: Segments<'_>) {
        self.stats.count_drop(reason, segments.len());
        let Some(segment) = segments.next() else { return };
        let mut quote = [0; QUOTE_LEN_MAX];
        let (head, body) = quote.split_at_mut(segment.header_len());
        segment.write_headers(head);
        let len = body.len().min(segment.payload().len());
        body[..len].copy_from_slice(&segment.payload()[..len]);
        self.tell_sender(reason, &quote[..segment.header_len() + len]);
    }

    /// Writes an ICMP error into the TUN, if one may be sent and there is a slot to spare.
    fn tell_sender(&mut self, reason: DropReason, packet: &[u8]) {
        // Our own datagrams tell us nothing that we could mend.
        if reason == DropReason::LoopedEndpoint || !icmp::may_answer(packet) {
            return;
        }
        if !self.icmp_allowance.take(self.now) {
            return self.stats.icmp_suppressed.add(1);
        }
        let Some(mut answer) = self.pool.claim_for(line::ICMP_ERRORS) else {
            return self.stats.icmp_suppressed.add(1);
        };
        const { assert!(VNET_HDR_LEN + ANSWER_LEN_MAX <= ring_buffers::PACKET_SIZE, "an answer fits in a packet slot") };
        let Some(len) = icmp::unreachable(packet, &mut answer[VNET_HDR_LEN..]) else { return };
        answer.truncate(VNET_HDR_LEN + len);
        let Some(header) = answer.first_chunk_mut() else { return };
        Transmit::Packet.write(header);
        match self.tun.write(&mut self.ring, answer, 0) {
            Ok(()) => self.stats.icmp_sent.add(1),
            Err(_) => self.stats.count_drop(DropReason::TunWriteFailed, 1),
        }
    }
}
