//! Inner packets that say who they are: each carries its number, and all of its bytes follow from that.
//!
//! ```text
//!   [ IP header ][ UDP, TCP or ICMP header ][ number, 8 bytes ][ a piece of one long table ]
//! ```
//!
//! A TCP or UDP packet without payload has its number in the headers. Which piece of the table follows from the number
//! as well. So a packet that arrives is compared with memory that is there already, and its checksums come from sums
//! that were made once: a packet costs less than its encryption.

mod check;
mod error;
mod table;
mod write;

pub use check::{Written, check};
pub use error::{check_error, is_longest_error, write_unreachable};
pub use write::{write_packet, write_super};

use std::net::IpAddr;

use vnet_packets::virtio::VNET_HDR_LEN;

/// Bytes of a number in a packet.
pub const NUMBER_LEN: usize = 8;
/// Room that the TUN wants in front of a packet, and the gateway too.
pub const ROOM: usize = VNET_HDR_LEN;
/// Payload bytes of a first fragment behind its UDP header.
pub const FIRST_LEN: u16 = 544;
/// Payload bytes of the fragment behind it.
pub const LATER_LEN: u16 = 304;

/// What a packet is of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Whole,
    /// Its first fragment, [`FIRST_LEN`] bytes long.
    First,
    /// The fragment behind that, [`LATER_LEN`] bytes long.
    Later,
}

/// Which packet it is: the flow, its place in the flow, and how long its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The flow's place in the list of flows.
    pub flow: u16,
    /// What it is of its datagram.
    pub shape: Shape,
    /// The packets of a flow count up.
    pub sequence: u32,
    /// Bytes behind the transport header, this number included. If there are none, the number is in the headers.
    pub len: u16,
}

/// The transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 768.
    Udp,
    /// RFC 9293: acknowledgements with data, as a download has them, and without any.
    Tcp,
    /// Echo requests of RFC 792 and RFC 4443.
    Icmp,
}

/// What all packets of a flow have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its place in the list of flows.
    pub id: u16,
    /// Inner source address.
    pub source: IpAddr,
    /// Inner destination address, of the same family.
    pub destination: IpAddr,
    /// Transport protocol.
    pub transport: Transport,
    /// Payload bytes of a full segment.
    pub segment: u16,
    /// The DSCP, which nobody changes.
    pub dscp: u8,
    /// The ECN field as it was offered.
    pub ecn: u8,
    /// Its packets come one by one, so they need not be alike: some are empty, and some have another window.
    pub lone: bool,
    /// IPv4 only: the identification counts up, and fragmentation is allowed. Otherwise it is constant.
    pub counts_up: bool,
}

impl Number {
    fn bits(self) -> u64 {
        let shape = self.shape as u64;
        u64::from(self.flow) << 52 | shape << 48 | u64::from(self.sequence) << 16 | u64::from(self.len)
    }

    fn of_bits(bits: u64) -> Option<Self> {
        let shape = [Shape::Whole, Shape::First, Shape::Later].into_iter().nth((bits >> 48 & 0xf) as usize)?;
        Some(Self { flow: (bits >> 52) as u16, shape, sequence: (bits >> 16) as u32, len: bits as u16 })
    }
}

impl Flow {
    /// Whether it is IPv4.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// Bytes of the IP header of its packets, extension headers included.
    #[must_use]
    pub const fn ip_len(&self, shape: Shape) -> usize {
        match (self.is_v4(), shape) {
            (true, _) => 20,
            (false, Shape::Whole) => 40,
            (false, _) => 48,
        }
    }

    /// Bytes of the transport header of its packets.
    #[must_use]
    pub const fn transport_len(&self, shape: Shape) -> usize {
        match (shape, self.transport) {
            (Shape::Later, _) => 0,
            (_, Transport::Tcp) => 20,
            _ => 8,
        }
    }

    /// The next numbers of this flow, for whole packets.
    #[must_use]
    pub const fn number(&self, sequence: u32, len: u16) -> Number {
        Number { flow: self.id, shape: Shape::Whole, sequence, len }
    }

    const fn protocol(&self) -> u8 {
        match (self.transport, self.is_v4()) {
            (Transport::Udp, _) => 17,
            (Transport::Tcp, _) => 6,
            (Transport::Icmp, true) => 1,
            (Transport::Icmp, false) => 58,
        }
    }
}
