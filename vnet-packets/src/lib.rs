//! What virtio-net offloads ask of packets. Bytes in, bytes out: no device, no file descriptor, no clock.
//!
//! Between the kernel and a reader of a TUN device each packet has a [`VNET_HDR_LEN`]-byte header in front:
//!
//! ```text
//!   read  ──► [ virtio-net header ][ IP packet ........ ]   parse: lone packet, or super-packet to cut up
//!   write ◄── [ virtio-net header ][ IP packet ........ ]   write: lone packet, or merged run of a flow
//! ```
//!
//! [`virtio`] knows the header, [`headers`] what lies behind it, [`checksum`] the arithmetic of the Internet.
//! [`Segments`] cuts a super-packet into packets, [`Coalescer`] merges packets into super-packets, also those of a flow
//! in a VXLAN or Geneve tunnel ([`Tunnel`]). [`sample`] makes packets to try all of that with.
//!
//! # Example
//!
//! A super-packet of three segments becomes three packets, each with headers of its own:
//!
//! ```
//! use vnet_packets::sample::{Packet, payload};
//! use vnet_packets::{Segments, SuperKind};
//!
//! let packet = Packet::new(SuperKind::Tcp4).with(|packet| packet.payload = payload(2_500));
//! let bytes = packet.bytes();
//! let mut packets = Vec::new();
//! for segment in Segments::new(&bytes, packet.geometry(1_000))? {
//!     let mut bytes = vec![0; segment.len()];
//!     segment.write(&mut bytes);
//!     packets.push(bytes);
//! }
//! assert_eq!(packets.len(), 3);
//! assert_eq!(packets[2].len(), packet.header_len() + 500);
//! # Ok::<(), vnet_packets::VnetError>(())
//! ```
//!
//! The only `unsafe` is in the vector code of [`checksum`].

pub mod checksum;
mod coalesce;
mod error;
pub mod headers;
pub mod sample;
mod segment;
mod tunnel;
pub mod virtio;

pub use coalesce::{Coalescer, FLOWS_MAX, Merge, SEGMENTS_MAX};
pub use error::VnetError;
pub use segment::{Segment, Segments};
pub use tunnel::{OuterOffset, Tunnel};
pub use virtio::{PartialChecksum, Received, Super, SuperKind, VNET_HDR_LEN, WriteHeader};
