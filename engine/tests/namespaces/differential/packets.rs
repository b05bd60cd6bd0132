//! Inner packets by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

use ringfort_testbed::ping::internet_checksum;

/// Where packets that are delivered go.
pub const PORT: u16 = 4_444;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OURS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// A UDP packet over IPv4 with `len` bytes of payload.
pub fn v4(from: Ipv4Addr, len: usize) -> Vec<u8> {
    let mut packet = header(from, OURS, UDP, 8 + len);
    packet.extend(udp_header(len));
    packet.resize(28 + len, 0);
    packet
}

/// The same over IPv6.
pub fn v6(from: Ipv6Addr, len: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(8 + len).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, high, low, UDP, 64];
    packet.extend(from.octets());
    packet.extend(OURS6.octets());
    packet.extend(udp_header(len));
    packet.resize(48 + len, 0);
    packet
}

/// A ping.
pub fn echo_request(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut packet = header(from, to, ICMP, 12);
    packet.extend([8, 0, 0xf7, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet
}

/// Makes the checksum of an IPv4 header right again.
pub fn mend_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let checksum = internet_checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, len: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + len).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    mend_checksum(&mut packet);
    packet
}

fn udp_header(len: usize) -> Vec<u8> {
    let ports = [PORT, PORT, u16::try_from(8 + len).unwrap(), 0];
    ports.into_iter().flat_map(u16::to_be_bytes).collect()
}

/// Whether a witness sent it.
pub fn is_of_witness(packet: &[u8]) -> bool {
    packet.len() > 20 && packet[0] >> 4 == 4 && packet[9] == ICMP && packet[20] == 8
}

/// In words: how long it is, and what else is not as usual.
pub fn describe(packet: &[u8]) -> String {
    let len = packet.len();
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.get(9) == Some(&ICMP) && len > 21 => {
            format!("ICMP of type {} code {}", packet[20], packet[21])
        }
        Some(4) => format!("IPv4 of {len}{}", class(packet[1])),
        Some(6) if packet.get(6) == Some(&58) && len > 41 => {
            format!("ICMPv6 of type {} code {}", packet[40], packet[41])
        }
        Some(6) => format!("IPv6 of {len}{}", class(packet[0] << 4 | packet[1] >> 4)),
        version => format!("{len} bytes of version {version:?}"),
    }
}

fn class(traffic_class: u8) -> String {
    if traffic_class == 0 { String::new() } else { format!(" of class {traffic_class:#04x}") }
}
