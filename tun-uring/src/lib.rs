//! The TUN edge: a TUN device, its queues, and reads and writes of them through io_uring.
//!
//! A packet that leaves through the tunnel is read here, one that arrives through it is written here. [`device`] makes
//! the interface, or takes one that is there; [`TunEdge`] reads and writes one of its queues through a ring.
//! [`self_test()`] finds out which offloads of this kernel can be trusted.
//!
//! What the bytes of these packets mean is the business of `vnet-packets`, whose types are here as well.

pub mod device;
mod edge;
mod error;
mod given;
mod link;
mod queue;
pub mod self_test;
mod steering;

pub use device::{Offloads, Tun, TunError};
pub use edge::{
    EdgeConfig, EdgeCounters, Event, PIECES_MAX, READ_BUFFER_LEN, Refusal, Refused, TunEdge, WriteError, WriteFailed,
};
pub use given::{Given, Unusable, goes_with_its_queues, interface_of};
pub use link::Link;
pub use queue::{interface_name, namespace};
pub use self_test::{SelfTest, self_test};
pub use steering::{Bucket, FlowTable, cost};
pub use vnet_packets::{
    Coalescer, FLOWS_MAX, Merge, PartialChecksum, Received, SEGMENTS_MAX, Segment, Segments, Super, SuperKind,
    Transmit, VNET_HDR_LEN, VnetError, checksum, virtio,
};
