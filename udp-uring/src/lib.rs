//! The UDP edge: sockets that share a port, and trains of datagrams in and out through `io_uring`.
//!
//! ```text
//!   in:   socket ──► RECVMSG multishot, UDP_GRO ──► Received { view, stride, endpoint, ecn }
//!   out:  Transmit { view, stride, endpoint, ecn } ──► SENDMSG with UDP_SEGMENT ──► socket
//! ```
//!
//! A train is datagrams of equal length (the last may be shorter), side by side in one buffer, on one path. A lone
//! datagram is a train of one. Nothing here knows what is in them. Only the [`reuseport`] program and the
//! [filter](JunkFilter) against floods know how WireGuard messages look.
//!
//! # Example
//!
//! Each train that arrives leaves again, from the slot in which it lies (`examples/echo.rs` as a whole):
//!
//! ```no_run
//! use ring_buffers::{Arena, Budget, BufferGroup, Pool, Ring, RingConfig, SlotClass, Wait, Waker};
//! use udp_uring::{
//!     EdgeConfig, RECEIVE_BUFFER_LEN, Received, Segmentation, SocketConfig, SocketGroup, Transmit, UdpEdge, UdpEvent,
//! };
//!
//! let sockets = SocketGroup::bind(&SocketConfig::new(7007, 1))?;
//! let mut ring = Ring::new(RingConfig::default())?;
//! ring.register_files(&[None; 2])?;
//! let budget = Budget::new().line("trains", SlotClass::Jumbo, 32);
//! let pool = Pool::new(Arena::new(&budget, Waker::new()?)?);
//! let group = BufferGroup::register(&mut ring, &pool, 0, SlotClass::Jumbo, 16, RECEIVE_BUFFER_LEN)?;
//! let segmentation = Segmentation::for_this_kernel();
//! let config = EdgeConfig { edge: 0, place_v4: 0, place_v6: 1, operations: 128, segmentation };
//! let mut edge = UdpEdge::new(group, config);
//! edge.rebind(&mut ring, sockets.pair(0))?;
//!
//! let mut completions = Vec::new();
//! loop {
//!     edge.prepare(&mut ring)?;
//!     ring.turn(Wait::UntilCompletion)?;
//!     ring.reap(64, |completion| completions.push(completion));
//!     for completion in completions.drain(..) {
//!         if let UdpEvent::Received(Received { view, stride, endpoint, ecn }) = edge.complete(&mut ring, completion) {
//!             let train = Transmit { view, stride, endpoint, ecn, context: 0 };
//!             edge.send(&mut ring, train).expect("as many operations as slots");
//!         }
//!     }
//! }
//! # #[expect(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cmsg;
mod edge;
mod error;
mod filter;
mod gso;
mod handshake;
mod receive;
mod regain;
pub mod reuseport;
mod segmentation;
mod send;
mod sockaddr;
mod socket;

pub use edge::{EdgeConfig, EdgeCounters, GsoNotice, UdpEdge, UdpEvent};
pub use error::{BindError, Family};
pub use filter::{Extent, Junk, JunkFilter, TopByte, unguard};
pub use handshake::{SentBy, may_blame_source, send_handshake};
pub use receive::{PAYLOAD_OFFSET, RECEIVE_BUFFER_LEN, ReceiveDrop, Received};
pub use segmentation::Segmentation;
pub use send::{SEGMENTS_MAX, SendFailed, Sent, TRAIN_BYTES_MAX, TrainRefusal, TrainRefused, Transmit};
pub use socket::{Offloads, SocketConfig, SocketGroup, SocketPair};
pub use udp_endpoint::{Bind, DeviceName, Endpoint, LocalAddr, NotBindable};
