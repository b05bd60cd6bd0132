//! The TUN edge: a TUN device, its queues, and reads and writes of them through io_uring.
//!
//! A packet that leaves through the tunnel is read here, one that arrives through it is written here. [`device`] makes
//! the interface, or takes one that is there; [`TunEdge`] reads and writes one of its queues through a ring.
//! [`self_test()`] finds out which offloads of this kernel can be trusted.
//!
//! What the bytes of these packets mean is the business of `vnet-packets`, whose types are here as well.
//!
//! # Example
//!
//! Shows the lengths of the packets that the kernel sends through an interface. `examples/responder.rs` answers them.
//!
//! ```no_run
//! use ring_buffers::{Arena, Budget, LineId, Pool, Ring, RingConfig, SlotClass, Wait, Waker};
//! use tun_uring::{EdgeConfig, Offloads, Tun, TunEdge, TunEvent, VNET_HDR_LEN};
//!
//! let tun = Tun::create("tun0", 1, Offloads::NONE)?;
//! let mut ring = Ring::new(RingConfig::default())?;
//! ring.register_files(&[None])?;
//! let budget = Budget::new().line("packets", SlotClass::Jumbo, 16);
//! let pool = Pool::new(Arena::new(&budget, Waker::new()?)?);
//! let capabilities = ring_buffers::probe()?;
//! let (edge, place, group, line) = (0, 0, 0, LineId(0));
//! let config = EdgeConfig { edge, place, group, line, read_slots: 16, writes: 16, gathers: 0, capabilities };
//! let mut edge = TunEdge::new(&mut ring, &pool, tun.into_queues().remove(0), config)?;
//!
//! let mut events = Vec::new();
//! loop {
//!     edge.prepare(&mut ring, 0)?;
//!     ring.turn(if edge.is_readable() { Wait::No } else { Wait::UntilCompletion })?;
//!     ring.reap(64, |completion| events.push(edge.complete(completion)));
//!     events.extend(std::iter::from_fn(|| edge.poll_read()));
//!     for event in events.drain(..) {
//!         if let TunEvent::Read(packet) = event {
//!             println!("{} bytes", packet.len() - VNET_HDR_LEN);
//!         }
//!     }
//! }
//! # #[expect(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod device;
mod driver;
mod edge;
mod error;
mod given;
mod ioctl;
mod link;
mod offloads;
mod queue;
pub mod self_test;
mod settings;
mod steering;

pub use device::{Offloads, Tun, TunError};
pub use driver::{goes_with_its_queues, interface_of, set_attached};
pub use edge::{
    EdgeConfig, EdgeCounters, PIECES_MAX, READ_BUFFER_LEN, TunEdge, TunEvent, WriteError, WriteFailed, WriteRefusal,
    WriteRefused,
};
pub use error::Unusable;
pub use link::Link;
pub use queue::{interface_name, namespace};
pub use self_test::{SelfTest, self_test};
pub use settings::Given;
pub use steering::{Bucket, FlowTable, Program, cost, detach};
pub use vnet_packets::{
    Coalescer, FLOWS_MAX, Merge, OuterOffset, PartialChecksum, Received, SEGMENTS_MAX, Segment, Segments, Super,
    SuperKind, Tunnel, VNET_HDR_LEN, VnetError, WriteHeader, checksum, virtio,
};
