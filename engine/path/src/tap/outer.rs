//! The headers that a datagram has on the wire, made anew from what is known of it: sockets do not show them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use vnet_packets::checksum::Sum;

/// Bytes of the longest: IPv6 and UDP.
pub const OUTER_LEN_MAX: usize = 48;

const UDP_LEN: usize = 8;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const PROTOCOL_UDP: u8 = 17;
/// Linux's own. Which one a datagram came with is not known.
const HOP_LIMIT: u8 = 64;

/// IP and UDP headers of a datagram of `len` bytes from `from` to `to`. `payload` is what is known of it: only if that
/// is all of it does UDP over IPv6 get the right checksum. Over IPv4 it has none.
///
/// An address of the other family than the remote's is taken to be unknown.
#[must_use]
pub fn outer_header(from: SocketAddr, to: SocketAddr, class: u8, len: usize, payload: &[u8]) -> ([u8; 48], usize) {
    let mut bytes = [0; OUTER_LEN_MAX];
    let udp_len = u16::try_from(UDP_LEN + len).unwrap_or(u16::MAX);
    let is_v4 = from.is_ipv4() && to.is_ipv4();
    let ip_len = if is_v4 { IPV4_LEN } else { IPV6_LEN };
    let (ip, udp) = bytes.split_at_mut(ip_len);
    udp[..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    if is_v4 {
        let total = u16::try_from(IPV4_LEN + UDP_LEN + len).unwrap_or(u16::MAX);
        ip[0] = 0x45;
        ip[1] = class;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[8] = HOP_LIMIT;
        ip[9] = PROTOCOL_UDP;
        ip[12..16].copy_from_slice(&v4(from.ip()).octets());
        ip[16..20].copy_from_slice(&v4(to.ip()).octets());
        let checksum = Sum::of(ip).checksum();
        ip[10..12].copy_from_slice(&checksum);
    } else {
        ip[0] = 0x60 | class >> 4;
        ip[1] = class << 4;
        ip[4..6].copy_from_slice(&udp_len.to_be_bytes());
        ip[6] = PROTOCOL_UDP;
        ip[7] = HOP_LIMIT;
        ip[8..24].copy_from_slice(&v6(from.ip()).octets());
        ip[24..40].copy_from_slice(&v6(to.ip()).octets());
        let pseudo = Sum::pseudo_header(&ip[8..40], PROTOCOL_UDP, udp_len.into());
        let sum = pseudo.plus(Sum::of(&udp[..UDP_LEN])).plus(Sum::of(payload));
        udp[6..8].copy_from_slice(&sum.transport_checksum());
    }
    (bytes, ip_len + UDP_LEN)
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn over_ipv4_the_headers_are_those_of_a_datagram() {
        let (bytes, len) = outer_header(addr("192.0.2.1:51820"), addr("198.51.100.7:1234"), 2, 32, &[0; 32]);
        assert_eq!(len, 28);
        assert_eq!(bytes[..10], [0x45, 2, 0, 60, 0, 0, 0, 0, 64, 17]);
        assert!(Sum::of(&bytes[..20]).is_valid());
        assert_eq!(bytes[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(bytes[20..28], [0xca, 0x6c, 0x04, 0xd2, 0, 40, 0, 0]);
    }

    #[test]
    fn over_ipv6_the_checksum_is_right() {
        let payload = [7; 33];
        let (bytes, len) = outer_header(addr("[2001:db8::1]:51820"), addr("[fe80::2]:9"), 0x8b, 33, &payload);
        assert_eq!(len, 48);
        assert_eq!(bytes[..8], [0x68, 0xb0, 0, 0, 0, 41, 17, 64]);
        let sum = Sum::pseudo_header(&bytes[8..40], 17, 41).plus(Sum::of(&bytes[40..48])).plus(Sum::of(&payload));
        assert!(sum.is_valid());
    }

    #[test]
    fn a_datagram_that_is_too_long_for_ip_makes_no_panic() {
        let (bytes, _) = outer_header(addr("192.0.2.1:1"), addr("192.0.2.2:2"), 0, 70_000, &[]);
        assert_eq!(bytes[2..4], [0xff, 0xff]);
    }
}
