//! Each opened message of a run is looked into: how long the packet is that may go on.

use ringfort_aead::{Geometry, SEGMENTS_MAX};
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
        let ecn = run.ecn;
        let segments = run.bytes_mut().chunks_mut(geometry.stride()).enumerate();
        for ((i, segment), length) in segments.zip(&mut lengths) {
            if accepted.has(i) && segment.len() > DATA_LEN_MIN {
                match self.check_packet(segment, peer, ecn) {
                    Ok(len) => *length = len,
                    Err(reason) => {
                        self.drop_inner(now, peer, reason, &segment[DATA_HEADER_LEN..segment.len() - TAG_LEN]);
                    }
                }
            }
        }
        if let Some(tap) = &mut self.tap {
            let messages = lengths.iter().copied().zip(run.bytes().chunks(geometry.stride()));
            tap.delivered(now, peer, run.receiver, run.counters.iter().copied().zip(messages));
        }
        lengths
    }

    /// One opened data message: 16 bytes of room, the packet, padding, and what was the tag.
    fn check_packet(&self, segment: &mut [u8], peer: PeerId, ecn: u8) -> Result<usize, DropReason> {
        let end = segment.len() - TAG_LEN;
        let packet = &mut segment[DATA_HEADER_LEN..end];
        let inner = packet::parse(packet)?;
        if self.routes.lookup(inner.source) != Some(peer) {
            return Err(DropReason::SourceNotAllowed);
        }
        packet::apply_outer_ecn(&mut packet[..inner.len], ecn)?;
        Ok(inner.len)
    }
}
