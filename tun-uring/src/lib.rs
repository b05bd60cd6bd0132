//! The TUN edge: queues of a TUN device, their virtio-net headers, and what offloads ask of packets.
//!
//! A packet that leaves through the tunnel is read here, one that arrives through it is written here. Between the
//! kernel and this crate each packet has a [`VNET_HDR_LEN`]-byte header in front:
//!
//! ```text
//!   read  ──► [ virtio_net_hdr | slack ][ IP packet ........ ]   parse: lone packet, or super-packet to cut up
//!   write ◄── [ virtio_net_hdr | slack ][ IP packet ........ ]   write: lone packet, or merged run of a flow
//! ```
//!
//! [`device`] makes the interface, or takes one that is there,
//! [`TunEdge`] reads and writes one of its queues through a ring, [`virtio`] knows the header, [`checksum`] the arithmetic of the Internet.
//! [`self_test()`] finds out what of all that this kernel can be trusted with. [`Segments`] cuts a super-packet into packets, [`Coalescer`] merges packets into super-packets.

pub mod checksum;
mod coalesce;
pub mod device;
mod edge;
mod given;
mod headers;
mod link;
mod netlink;
mod sample;
mod segment;
pub mod self_test;
mod steering;
#[cfg(test)]
mod test_packets;
pub mod virtio;

pub use coalesce::{Coalescer, FLOWS_MAX, Merge, SEGMENTS_MAX};
pub use device::{Offloads, Tun, TunError};
pub use edge::{
    EdgeConfig, EdgeCounters, Event, PIECES_MAX, READ_BUFFER_LEN, Refusal, Refused, TunEdge, WriteError, WriteFailed,
};
pub use given::{Given, Unusable, goes_with_its_queues, interface_of};
pub use link::Link;
pub use segment::{Segment, Segments};
pub use self_test::{SelfTest, self_test};
pub use steering::{Bucket, FlowTable, cost};
pub use virtio::{PartialChecksum, Received, Super, SuperKind, Transmit, VNET_HDR_LEN, VnetError};
