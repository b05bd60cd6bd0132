//! Packets made by hand, and sockets that get or send them.

use std::net::UdpSocket;

use tun_uring::checksum::Sum;
use tun_uring::{SuperKind, VNET_HDR_LEN, WriteHeader};

use crate::namespace::PATIENCE;

/// A UDP packet from 10.7.0.2:9 to 10.7.0.1:`port`, behind a virtio-net header.
pub fn udp_to(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; VNET_HDR_LEN + 28];
    let len = 28 + payload.len() as u16;
    let ip = &mut packet[VNET_HDR_LEN..];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip[8] = 64;
    ip[9] = 17;
    ip[12..20].copy_from_slice(&[10, 7, 0, 2, 10, 7, 0, 1]);
    let checksum = Sum::of(&ip[..20]).checksum();
    ip[10..12].copy_from_slice(&checksum);
    ip[20..22].copy_from_slice(&9u16.to_be_bytes());
    ip[22..24].copy_from_slice(&port.to_be_bytes());
    ip[24..26].copy_from_slice(&(len - 20).to_be_bytes());
    let pseudo = Sum::pseudo_header(&ip[12..20], 17, u32::from(len) - 20);
    let checksum = pseudo.plus(Sum::of(&ip[20..])).plus(Sum::of(payload)).transport_checksum();
    ip[26..28].copy_from_slice(&checksum);
    packet.extend_from_slice(payload);
    packet
}

/// Makes a super-packet of [`udp_to`]'s: segments of `size` bytes.
pub fn make_super(packet: &mut [u8], size: u16) {
    let end = (packet.len() - VNET_HDR_LEN) as u32;
    let (header, ip) = packet.split_at_mut(VNET_HDR_LEN);
    let partial = Sum::pseudo_header(&ip[12..20], 17, end - 20).to_bytes();
    ip[26..28].copy_from_slice(&partial);
    let geometry =
        tun_uring::Super { kind: SuperKind::Udp4, transport: 20, header: 28, segment: size, end, tunnel: None };
    WriteHeader::Super(geometry).write(header.try_into().expect("room for the header"));
}

/// Bytes that tell a packet from every other.
pub fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ number.wrapping_mul(0x9e37) ^ (i >> 8)) as u8).collect()
}

/// A socket of the namespace's own address.
pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("10.7.0.1:0").expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket
}

pub fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("address").port()
}

#[track_caller]
pub fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let n = socket.recv(&mut buffer).expect("a datagram in time");
    buffer.truncate(n);
    buffer
}
