//! The UDP edge: sockets that share a port, and trains of datagrams in and out through `io_uring`.
//!
//! ```text
//!   in:   socket ──► RECVMSG multishot, UDP_GRO ──► Received { view, stride, path, ecn }
//!   out:  Transmit { view, stride, path, ecn } ──► SENDMSG with UDP_SEGMENT ──► socket
//! ```
//!
//! A train is datagrams of equal length (the last may be shorter), side by side in one buffer, on one path. A lone
//! datagram is a train of one. Nothing here knows what is in them, but for the [`steering`] program, which knows where
//! a WireGuard message has its receiver index.

pub mod cmsg;
mod edge;
mod error;
mod gso;
mod handshake;
mod path;
mod receive;
mod segmentation;
mod send;
mod sockaddr;
mod socket;
pub mod steering;

pub use edge::{EdgeConfig, EdgeCounters, Event, GsoNotice, UdpEdge};
pub use error::{BindError, Family};
pub use handshake::{SentBy, may_blame_source, send_handshake};
pub use path::{LocalAddr, Path};
pub use receive::{PAYLOAD_OFFSET, RECEIVE_BUFFER_LEN, ReceiveDrop, Received};
pub use segmentation::Segmentation;
pub use send::{Refusal, Refused, SEGMENTS_MAX, SendFailed, Sent, TRAIN_BYTES_MAX, Transmit};
pub use socket::{Offloads, SocketConfig, SocketGroup, SocketPair};
