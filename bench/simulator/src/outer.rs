//! Our own datagrams as packets: a route leads them into a tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::network::{PORT, Wire};
use crate::packets::ROOM;

const UDP: u8 = 17;

/// A datagram as the kernel routes it into a TUN device: in UDP, in IP, behind a virtio-net header.
pub fn wrap(from: SocketAddr, to: SocketAddr, ecn: u8, datagram: &[u8]) -> Vec<u8> {
    let udp_len = (8 + datagram.len()) as u16;
    let mut packet = vec![0; ROOM];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend_from_slice(&[0x45, ecn]);
            packet.extend_from_slice(&(20 + udp_len).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, 64, UDP, 0, 0]);
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
        }
        (from, to) => {
            packet.extend_from_slice(&[0x60, ecn << 4, 0, 0]);
            packet.extend_from_slice(&udp_len.to_be_bytes());
            packet.extend_from_slice(&[UDP, 64]);
            for address in [from, to] {
                if let IpAddr::V6(address) = address {
                    packet.extend_from_slice(&address.octets());
                }
            }
        }
    }
    for word in [from.port(), to.port(), udp_len, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(datagram);
    packet
}

/// The datagram in such a packet, if it is one.
pub fn unwrap(packet: &[u8]) -> Option<Wire> {
    let packet = packet.get(ROOM..)?;
    let (from, to, ecn, udp): (IpAddr, IpAddr, _, _) = match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&UDP) => {
            let address = |at: usize| packet.get(at..at + 4)?.try_into().ok().map(|a: [u8; 4]| Ipv4Addr::from(a));
            (address(12)?.into(), address(16)?.into(), packet[1] & 3, packet.get(20..)?)
        }
        6 if packet.get(6) == Some(&UDP) => {
            let address = |at: usize| packet.get(at..at + 16)?.try_into().ok().map(|a: [u8; 16]| Ipv6Addr::from(a));
            (address(8)?.into(), address(24)?.into(), packet[1] >> 4 & 3, packet.get(40..)?)
        }
        _ => return None,
    };
    let (ports, datagram) = udp.split_at_checked(8)?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let is_ours = port(2) == PORT && matches!(datagram.first(), Some(1..=4)) && from != to;
    let (from, to) = (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)));
    // The router is one that the tunnel around this one passes.
    let marked = ecn == 3;
    is_ours.then(|| Wire { from, to, ecn, marked, stride: datagram.len(), bytes: datagram.to_vec(), stray: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_out_as_it_went_in() {
        for (from, to) in [("192.0.2.3:51820", "192.0.2.4:51820"), ("[2001:db8::3]:51820", "[2001:db8::4]:51820")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let wire = unwrap(&wrap(from, to, 2, &[4, 0, 0, 0, 9])).expect("it is one of ours");
            assert_eq!((wire.from, wire.to, wire.ecn, wire.stride), (from, to, 2, 5));
            assert_eq!(wire.bytes, [4, 0, 0, 0, 9]);
        }
        assert!(unwrap(&[0; 60]).is_none());
    }
}
