//! What tests need beside the packets themselves.

pub(crate) use crate::sample::{KINDS, Packet, payload};
use crate::virtio::Super;

impl Packet {
    pub(crate) fn header_len(&self) -> usize {
        self.bytes().len() - self.payload.len()
    }

    /// The geometry of this packet as a super-packet with segments of `segment` bytes.
    pub(crate) fn geometry(&self, segment: u16) -> Super {
        let transport = if self.kind.is_ipv4() { 20 } else { 40 };
        let end = self.bytes().len() as u32;
        Super { kind: self.kind, transport, header: self.header_len() as u16, segment, end }
    }
}
