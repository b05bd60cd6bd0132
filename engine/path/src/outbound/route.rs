//! A packet finds its peer. One that no peer can have is turned back: its sender is told.

use std::net::IpAddr;

use ringfort_core::drops::DropReason;
use ringfort_core::icmp::{self, ANSWER_LEN_MAX, QUOTE_LEN_MAX};
use ringfort_core::ids::PeerId;
use ringfort_core::looped;
use ringfort_core::time::Time;
use vnet_packets::{Segments, VNET_HDR_LEN, WriteHeader};

use crate::budget::line;
use crate::tap::Direction;
use crate::{DataPath, Watch};

const _: () = assert!(VNET_HDR_LEN + ANSWER_LEN_MAX <= ring_buffers::PACKET_SIZE, "an answer fits in a packet slot");

impl<W: Watch> DataPath<W> {
    /// The peer that a packet, or a super-packet, is for.
    ///
    /// # Errors
    /// [`DropReason::NoRoute`], [`DropReason::Down`], [`DropReason::NoEndpoint`], or [`DropReason::LoopedEndpoint`] for
    /// a datagram of our own.
    #[inline]
    pub(super) fn route(&self, packet: &[u8], destination: IpAddr) -> Result<PeerId, DropReason> {
        self.reach(packet, self.routes.lookup(destination))
    }

    /// The same when the routes have been asked already.
    #[inline]
    pub(super) fn reach(&self, packet: &[u8], found: Option<PeerId>) -> Result<PeerId, DropReason> {
        let id = found.ok_or(DropReason::NoRoute)?;
        let peer = self.peers.reachable(id)?;
        if looped::mark(packet).is_some_and(|mark| peer.closes_a_circle(mark, &self.nesting)) {
            return Err(DropReason::LoopedEndpoint);
        }
        Ok(id)
    }

    /// Drops a packet, and tells its sender, as the kernel's WireGuard does (`wg_xmit` in
    /// `drivers/net/wireguard/device.c`).
    #[cold]
    pub(super) fn turn_back(&mut self, now: Time, reason: DropReason, destination: IpAddr, packet: &[u8]) {
        let reason = self.reason_or_passive(reason);
        if let Some(tap) = &mut self.tap {
            tap.dropped(now, Direction::Out, self.routes.lookup(destination), reason, [packet, &[]]);
        }
        self.drop_turned_back(now, reason, destination, 1);
        self.tell_sender(now, reason, packet);
    }

    /// The same for all segments of a super-packet, of which the first is what the sender is told about.
    #[cold]
    pub(super) fn turn_back_super(
        &mut self,
        now: Time,
        reason: DropReason,
        destination: IpAddr,
        mut segments: Segments<'_>,
    ) {
        let reason = self.reason_or_passive(reason);
        if let Some(tap) = &mut self.tap {
            let peer = self.routes.lookup(destination);
            tap.dropped_segments(now, Direction::Out, peer, reason, segments.clone());
        }
        self.drop_turned_back(now, reason, destination, segments.len());
        let Some(segment) = segments.next() else { return };
        let mut quote = [0; QUOTE_LEN_MAX];
        let (head, body) = quote.split_at_mut(segment.header_len());
        segment.write_headers(head);
        let len = body.len().min(segment.payload().len());
        body[..len].copy_from_slice(&segment.payload()[..len]);
        self.tell_sender(now, reason, &quote[..segment.header_len() + len]);
    }

    /// Writes an ICMP error into the TUN, if one may be sent and there is a slot to spare.
    fn tell_sender(&mut self, now: Time, reason: DropReason, packet: &[u8]) {
        // Our own datagrams tell us nothing that we could mend.
        if reason == DropReason::LoopedEndpoint || !icmp::may_answer(packet) {
            return;
        }
        let slot = if self.icmp_allowance.take(now) { self.pool.claim_for(line::ICMP_ERRORS) } else { None };
        let Some(mut answer) = slot else {
            self.counters.icmp_suppressed += 1;
            return;
        };
        let Some(len) = icmp::unreachable(packet, &mut answer[VNET_HDR_LEN..]) else { return };
        answer.truncate(VNET_HDR_LEN + len);
        let Some(header) = answer.first_chunk_mut() else { return };
        WriteHeader::Packet.write(header);
        self.counters.icmp_sent += 1;
        self.merging.push_lone(answer);
    }
}
