//! Packets and datagrams as a kernel hands them over.

use super::*;

/// Who sends from inside.
const INSIDE: [u8; 4] = [10, 9, 0, 1];

pub(super) fn message(bytes: Vec<u8>) -> Message {
    Message { bytes, ..Message::default() }
}

/// A packet from inside.
pub(super) fn packet_to(destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = inner_packet(INSIDE, payload);
    packet[16..20].copy_from_slice(&destination);
    packet
}

/// A control message, padded.
pub(super) fn cmsg(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The length of segments that a message asks for.
pub(super) fn stride_of(mut control: &[u8]) -> Option<usize> {
    while let Some((head, _)) = control.split_first_chunk::<16>() {
        let len = usize::from_ne_bytes(*head.first_chunk().unwrap());
        if head[8..] == [libc::SOL_UDP.to_ne_bytes(), libc::UDP_SEGMENT.to_ne_bytes()].concat() {
            return Some(u16::from_ne_bytes([control[16], control[17]]).into());
        }
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    None
}
