//! Each opened message of a run is looked into: how long the packet is that may go on.
//!
//! The routes are asked once for packets of one source that follow each other. In a large table, where asking takes
//! long, the session remembers the source from run to run, as long as the routes stay the same.

use std::net::IpAddr;

use ringfort_aead::{Geometry, SEGMENTS_MAX};
use ringfort_core::cell::RoutedSource;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::packet;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, TAG_LEN};

use super::{Accepted, Run};
use crate::{DataPath, Watch};

/// Of each packet in a run, in bytes; 0 where there is none, or none that may go on.
pub(super) type Lengths = [usize; SEGMENTS_MAX];

impl<W: Watch> DataPath<W> {
    pub(super) fn check(
        &mut self,
        now: Time,
        run: &mut Run<'_>,
        peer: PeerId,
        geometry: Geometry,
        accepted: &Accepted,
    ) -> Lengths {
        let mut lengths = [0; SEGMENTS_MAX];
        let ecn = run.origin.ecn;
        let before = self.last_source(run.origin.receiver);
        let mut source = before;
        let segments = run.bytes_mut().chunks_mut(geometry.stride()).enumerate();
        for ((i, segment), length) in segments.zip(&mut lengths) {
            if accepted.has(i) {
                *length = self.check_message(now, segment, peer, &mut source, ecn);
            }
        }
        self.keep_source(run.origin.receiver, before, source);
        if let Some(tap) = &mut self.tap {
            let messages = lengths.iter().copied().zip(run.bytes().chunks(geometry.stride()));
            tap.delivered(now, peer, run.origin.receiver, run.counters.iter().copied().zip(messages));
        }
        lengths
    }

    /// How long the packet in an opened message is that may go on; 0 if there is none. `allowed` is as in
    /// [`DataPath::check_packet`].
    #[inline]
    pub(super) fn check_message(
        &mut self,
        now: Time,
        message: &mut [u8],
        peer: PeerId,
        allowed: &mut Option<IpAddr>,
        ecn: u8,
    ) -> usize {
        if message.len() <= DATA_LEN_MIN {
            return 0;
        }
        self.check_packet(message, peer, allowed, ecn).unwrap_or_else(|reason| {
            self.drop_inner(now, peer, reason, &message[DATA_HEADER_LEN..message.len() - TAG_LEN]);
            0
        })
    }

    /// The source that the routes have allowed the peer of a session last, in their present version.
    pub(super) fn last_source(&self, receiver: u32) -> Option<IpAddr> {
        // A small table answers as fast as the session.
        let receiver = if self.routes.is_large() { self.sessions.get(&receiver)? } else { return None };
        let last = receiver.last_source.filter(|last| last.version == self.routes_version)?;
        Some(last.addr)
    }

    /// Has the session remember the source that was allowed now, if it is another than before.
    #[inline]
    pub(super) fn keep_source(&mut self, receiver: u32, before: Option<IpAddr>, source: Option<IpAddr>) {
        let version = self.routes_version;
        if self.routes.is_large()
            && source != before
            && let Some(receiver) = self.sessions.get_mut(&receiver)
        {
            receiver.last_source = source.map(|addr| RoutedSource { addr, version });
        }
    }

    /// One opened data message: 16 bytes of room, the packet, padding, and what was the tag. `allowed` is a source that
    /// the routes allow the peer.
    fn check_packet(
        &self,
        segment: &mut [u8],
        peer: PeerId,
        allowed: &mut Option<IpAddr>,
        ecn: u8,
    ) -> Result<usize, DropReason> {
        let end = segment.len() - TAG_LEN;
        let packet = &mut segment[DATA_HEADER_LEN..end];
        let inner = packet::parse(packet)?;
        if *allowed != Some(inner.source) {
            if self.routes.lookup(inner.source) != Some(peer) {
                return Err(DropReason::SourceNotAllowed);
            }
            *allowed = Some(inner.source);
        }
        packet::apply_outer_ecn(&mut packet[..inner.len], ecn)?;
        Ok(inner.len)
    }
}
