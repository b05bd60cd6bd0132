//! TCP and UDP packets made field by field, with right checksums: what the kernel is tested with at the start, and what
//! the tests are made of.

use crate::checksum::Sum;
use crate::headers::{PROTO_TCP, PROTO_UDP, UDP_LEN, Version};
use crate::tunnel::{GENEVE_PORT, Tunnel, VXLAN_PORTS};
use crate::virtio::{Super, SuperKind};

/// A packet to be made.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The protocols.
    pub kind: SuperKind,
    /// The last byte of the source address, and part of the source port.
    pub flow: u8,
    /// The destination port.
    pub port: u16,
    /// Whether UDP has a checksum.
    pub checksum: bool,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The identification of IPv4.
    pub identification: u16,
    /// Whether IPv4's DF is set.
    pub dont_fragment: bool,
    /// TCP's sequence number.
    pub sequence: u32,
    /// TCP's acknowledgement number.
    pub acknowledgement: u32,
    /// TCP's flags.
    pub flags: u8,
    /// TCP's window.
    pub window: u16,
    /// TCP's options, in whole 32-bit words.
    pub options: Vec<u8>,
    /// At most 65,000 bytes.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A packet of 1,000 bytes of payload.
    #[must_use]
    pub fn new(kind: SuperKind) -> Self {
        Self {
            kind,
            flow: 1,
            port: 443,
            checksum: true,
            tos: 0,
            ttl: 64,
            identification: 0x1234,
            dont_fragment: true,
            sequence: 0xffff_fc00,
            acknowledgement: 77,
            flags: 0x10,
            window: 501,
            options: if kind.is_tcp() { vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] } else { Vec::new() },
            payload: payload(1000),
        }
    }

    /// The same packet after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn transport(&self) -> Vec<u8> {
        let mut t = Vec::new();
        t.extend(u16::to_be_bytes(40_000 + u16::from(self.flow)));
        t.extend(self.port.to_be_bytes());
        if self.kind.is_tcp() {
            t.extend(self.sequence.to_be_bytes());
            t.extend(self.acknowledgement.to_be_bytes());
            t.push(((20 + self.options.len()) as u8 / 4) << 4);
            t.push(self.flags);
            t.extend(self.window.to_be_bytes());
            t.extend([0; 4]);
            t.extend(&self.options);
        } else {
            t.extend((8 + self.payload.len() as u16).to_be_bytes());
            t.extend([0; 2]);
        }
        t.extend(&self.payload);
        t
    }

    /// The packet from its IP header on.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut transport = self.transport();
        let protocol = if self.kind.is_tcp() { PROTO_TCP } else { PROTO_UDP };
        let mut ip = Vec::new();
        let addresses = if self.kind.is_ipv4() {
            let fragment: u16 = if self.dont_fragment { 0x4000 } else { 0 };
            ip.extend([0x45, self.tos]);
            ip.extend((20 + transport.len() as u16).to_be_bytes());
            ip.extend(self.identification.to_be_bytes());
            ip.extend(fragment.to_be_bytes());
            ip.extend([self.ttl, protocol, 0, 0, 10, 0, 0, self.flow, 10, 0, 1, 1]);
            let checksum = Sum::of(&ip).checksum();
            ip[10..12].copy_from_slice(&checksum);
            ip[12..].to_vec()
        } else {
            ip.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 7]);
            ip.extend((transport.len() as u16).to_be_bytes());
            ip.extend([protocol, self.ttl]);
            for last in [self.flow, 0xee] {
                ip.extend([0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, last]);
            }
            ip[8..].to_vec()
        };
        let sum = Sum::pseudo_header(&addresses, protocol, transport.len() as u32).plus(Sum::of(&transport));
        if self.kind.is_tcp() || self.checksum {
            let at = self.checksum_at();
            transport[at..at + 2].copy_from_slice(&sum.transport_checksum());
        }
        [ip, transport].concat()
    }

    /// The length of all headers in bytes.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.bytes().len() - self.payload.len()
    }

    /// The geometry of this packet as a super-packet with segments of `segment` bytes.
    #[must_use]
    pub fn geometry(&self, segment: u16) -> Super {
        let transport = if self.kind.is_ipv4() { 20 } else { 40 };
        let end = self.bytes().len() as u32;
        Super { kind: self.kind, transport, header: self.header_len() as u16, segment, end, tunnel: None }
    }

    /// This packet in a VXLAN tunnel: `outer` with another port and payload.
    #[must_use]
    pub fn in_vxlan(&self, outer: &Self) -> Self {
        let header = [0x08, 0, 0, 0, 0, 0, 7, 0];
        outer.clone().with(|outer| {
            outer.port = VXLAN_PORTS[0];
            outer.payload = [&header[..], &self.ethernet(), &self.bytes()].concat();
        })
    }

    /// This packet in a Geneve tunnel with an option of 8 bytes: `outer` with another port and payload.
    #[must_use]
    pub fn in_geneve(&self, outer: &Self) -> Self {
        self.in_geneve_with(outer, &[1, 2, 3, 1, 0xca, 0xfe, 0xf0, 0x0d])
    }

    /// The same with these options.
    ///
    /// # Panics
    /// If their length is not a multiple of 4, or above 252.
    #[must_use]
    pub fn in_geneve_with(&self, outer: &Self, options: &[u8]) -> Self {
        assert!(options.len().is_multiple_of(4) && options.len() <= 252, "not options of Geneve: {}", options.len());
        let header = [(options.len() / 4) as u8, 0, 0x65, 0x58, 0, 0, 7, 0];
        outer.clone().with(|outer| {
            outer.port = GENEVE_PORT;
            outer.payload = [&header[..], options, &self.ethernet(), &self.bytes()].concat();
        })
    }

    fn ethernet(&self) -> Vec<u8> {
        let ethertype = if self.kind.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype].concat()
    }

    /// The geometry of this packet as a super-packet in the tunnel that `outer` is of.
    #[must_use]
    pub fn geometry_in(&self, outer: &Self, segment: u16) -> Super {
        let (plain, whole) = (self.geometry(segment), outer.geometry(segment));
        let inner = (whole.end - plain.end) as u16;
        let version = if outer.kind.is_ipv4() { Version::V4 } else { Version::V6 };
        debug_assert!(usize::from(inner) > usize::from(whole.transport) + UDP_LEN, "the outer packet holds this one");
        Super {
            transport: inner + plain.transport,
            header: inner + plain.header,
            end: whole.end,
            tunnel: Some(Tunnel { version, udp: whole.transport, inner, checksum: outer.checksum }),
            ..plain
        }
    }

    fn checksum_at(&self) -> usize {
        if self.kind.is_tcp() { 16 } else { 6 }
    }
}

/// All kinds.
pub const KINDS: [SuperKind; 4] = [SuperKind::Tcp4, SuperKind::Tcp6, SuperKind::Udp4, SuperKind::Udp6];

/// Bytes without a short period.
#[must_use]
pub fn payload(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect()
}
