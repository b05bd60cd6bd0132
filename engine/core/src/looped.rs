//! Our own datagrams among the packets that we are to send: a route leads to a peer's endpoint through the tunnel
//! itself.
//!
//! Sealed again, such a datagram would come back again, for ever and as fast as the machine can. The kernel's WireGuard
//! refuses to send where the route leads back into its device (`send4` in `drivers/net/wireguard/socket.c`). We learn
//! of the route only by what comes back, and know it by what nobody else has: a data message carries the index that the
//! peer has given to *our* session, a handshake message the one that *we* have just made up. Addresses and ports would
//! say less: a host behind us may have a tunnel of its own to the same endpoint, from the same port, through ours.
//!
//! A peer may be reached through another peer. Only where that one is reached through the first there is no end, and a
//! packet grows until it is sent in fragments for ever. [`Nesting`] finds such circles.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use crate::wire::{Message, classify};

const UDP: u8 = 17;
const UDP_HEADER_LEN: usize = 8;
/// IPv6's fragment header (RFC 8200, section 4.5).
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER_LEN: usize = 8;

/// What a WireGuard message says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A data message under the session that its receiver knows by this index.
    Session(u32),
    /// An initiation or a response under this index of its sender's.
    Handshake(u32),
}

/// The mark of the WireGuard message that `packet` carries, if it carries one. Of a fragmented one only the first
/// fragment has it, of a super-packet the first datagram speaks for all: they were one train.
#[inline]
pub fn mark(packet: &[u8]) -> Option<Mark> {
    let udp = match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&UDP) => udp_v4(packet)?,
        6 if matches!(packet.get(6), Some(&(UDP | FRAGMENT))) => udp_v6(packet)?,
        _ => return None,
    };
    match classify(udp.get(UDP_HEADER_LEN..)?).ok()? {
        Message::Data(header) => Some(Mark::Session(header.receiver)),
        Message::Initiation(_, initiation) => Some(Mark::Handshake(initiation.sender_index.get())),
        Message::Response(response) => Some(Mark::Handshake(response.sender_index.get())),
        Message::CookieReply(_) => None,
    }
}

/// Which sessions lately carried datagrams of which others: a tunnel inside a tunnel. Shared by all workers, since the
/// flows of a circle are spread over them.
///
/// A note may be replaced by that of another session, and then a circle is found when it has come round once more. One
/// that no longer holds goes with its session.
#[derive(Debug)]
pub struct Nesting([AtomicU64; Self::NOTES]);

impl Nesting {
    /// More sessions than carry tunnels at the same time; their notes are found by the lowest bits of their index.
    const NOTES: usize = 64;
    /// Peers in a circle that is found.
    const CIRCLE_MAX: usize = 8;

    /// Nobody carries anything.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Self::NOTES])
    }

    /// Whether a datagram of the session `inner`, ours or a stranger's, must not travel in the session `outer` of ours:
    /// it is the same, or the datagrams of `outer` travel in `inner`. If it may, that is noted.
    pub fn closes_a_circle(&self, inner: u32, outer: u32) -> bool {
        let mut at = inner;
        for _ in 0..Self::CIRCLE_MAX {
            if at == outer {
                return true;
            }
            let Some(carried) = self.carried_by(at) else { break };
            at = carried;
        }
        let note = u64::from(outer) << 32 | u64::from(inner);
        let place = self.place(outer);
        // As long as nothing changes the word stays shared between the cores' caches.
        if place.load(Relaxed) != note {
            place.store(note, Relaxed);
        }
        false
    }

    /// Forgets all notes: what travels in what is about to change.
    pub fn forget(&self) {
        self.0.iter().for_each(|note| note.store(0, Relaxed));
    }

    fn carried_by(&self, outer: u32) -> Option<u32> {
        let note = self.place(outer).load(Relaxed);
        (note != 0 && note >> 32 == u64::from(outer)).then_some(note as u32)
    }

    fn place(&self, outer: u32) -> &AtomicU64 {
        // Ringfort's peers have their workers in the lowest byte: the others are random.
        &self.0[(outer >> 8) as usize % Self::NOTES]
    }
}

impl Default for Nesting {
    fn default() -> Self {
        Self::new()
    }
}

fn udp_v4(packet: &[u8]) -> Option<&[u8]> {
    let header: &[u8; IPV4_HEADER_LEN] = packet.first_chunk()?;
    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    if is_later_fragment { None } else { packet.get(usize::from(header[0] & 0x0f) * 4..) }
}

/// Without other extension headers, which our sockets do not send.
fn udp_v6(packet: &[u8]) -> Option<&[u8]> {
    let behind = packet.get(IPV6_HEADER_LEN..)?;
    if packet[6] == UDP {
        return Some(behind);
    }
    let (fragment, behind) = behind.split_first_chunk::<FRAGMENT_HEADER_LEN>()?;
    let is_later_fragment = u16::from_be_bytes([fragment[2], fragment[3]]) & 0xfff8 != 0;
    (fragment[0] == UDP && !is_later_fragment).then_some(behind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{DATA_HEADER_LEN, write_data_header};

    fn data(receiver: u32) -> Vec<u8> {
        let mut message = vec![0xee; 96];
        let header: &mut [u8; DATA_HEADER_LEN] = message.first_chunk_mut().unwrap();
        write_data_header(header, receiver, 5);
        message
    }

    /// An initiation or a response.
    fn handshake(kind: u8, len: usize, sender: u32) -> Vec<u8> {
        let mut message = vec![0; len];
        message[0] = kind;
        message[4..8].copy_from_slice(&sender.to_le_bytes());
        message
    }

    /// IPv4 with `options` bytes of options.
    fn v4(message: &[u8], options: usize) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x45 + u8::try_from(options / 4).unwrap();
        packet[9] = UDP;
        [&packet, &[0; UDP_HEADER_LEN][..], message].concat()
    }

    fn v6(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, UDP);
        [&packet, &[0; UDP_HEADER_LEN][..], message].concat()
    }

    #[test]
    fn messages_have_marks() {
        let cases = [
            (data(7), Some(Mark::Session(7))),
            (handshake(1, 148, 8), Some(Mark::Handshake(8))),
            (handshake(2, 92, 9), Some(Mark::Handshake(9))),
            (handshake(3, 64, 9), None),
            (handshake(1, 147, 8), None),
            (b"something else that is sent over UDP".to_vec(), None),
            (Vec::new(), None),
        ];
        for (message, expected) in cases {
            for packet in [v4(&message, 0), v4(&message, 8), v6(&message)] {
                assert_eq!(mark(&packet), expected, "{message:x?}");
            }
        }
        let mut marked_initiation = handshake(1, 148, 8);
        marked_initiation[1..4].copy_from_slice(b"GCM");
        assert_eq!(mark(&v4(&marked_initiation, 0)), Some(Mark::Handshake(8)), "of another suite");
    }

    #[test]
    fn only_a_first_fragment_has_a_mark() {
        for (offset, expected) in [(0, Some(Mark::Session(7))), (8, None), (1_400, None)] {
            let mut packet = v4(&data(7), 0);
            packet[6..8].copy_from_slice(&(0x2000 | (offset / 8_u16)).to_be_bytes());
            assert_eq!(mark(&packet), expected, "{offset}");
            let mut packet = v6(&data(7));
            let [hi, lo] = (offset | 1).to_be_bytes();
            packet.splice(40..40, [UDP, 0, hi, lo, 0, 0, 0, 1]);
            packet[6] = FRAGMENT;
            assert_eq!(mark(&packet), expected, "{offset}");
        }
    }

    #[test]
    fn other_protocols_have_none() {
        for protocol in (0..=255).filter(|p| ![UDP, FRAGMENT].contains(p)) {
            let (mut a, mut b) = (v4(&data(7), 0), v6(&data(7)));
            (a[9], b[6]) = (protocol, protocol);
            assert_eq!((mark(&a), mark(&b)), (None, None), "{protocol}");
        }
    }

    #[test]
    fn circles_are_found_and_other_nesting_is_not() {
        const A: u32 = 0x1000;
        const B: u32 = 0x2100;
        const C: u32 = 0x3200;
        const STRANGER: u32 = 0x4300;
        let nesting = Nesting::new();
        assert!(nesting.closes_a_circle(A, A), "a session in itself");
        // B is reached through A, and a stranger's tunnel runs in either.
        for (inner, outer) in [(STRANGER, B), (B, A), (STRANGER, A), (B, A)] {
            assert!(!nesting.closes_a_circle(inner, outer), "{inner:x} in {outer:x}");
        }
        let nesting = Nesting::new();
        assert!(!nesting.closes_a_circle(A, B));
        assert!(nesting.closes_a_circle(B, A), "two in a circle");
        let nesting = Nesting::new();
        assert!(!nesting.closes_a_circle(A, B) && !nesting.closes_a_circle(B, C));
        assert!(nesting.closes_a_circle(C, A), "three");
        assert!(!nesting.closes_a_circle(STRANGER, B));
        assert!(!nesting.closes_a_circle(C, A), "the note was replaced");
        assert!(nesting.closes_a_circle(A, B), "but the circle is found at the next step");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), v6 in any::<bool>()) {
            let at = if v6 { 6 } else { 9 };
            if let Some(protocol) = bytes.get_mut(at) {
                *protocol = UDP;
            }
            if let Some(first) = bytes.first_mut() {
                *first = *first & 15 | if v6 { 0x60 } else { 0x40 };
            }
            let _ = mark(&bytes);
        }
    }
}
