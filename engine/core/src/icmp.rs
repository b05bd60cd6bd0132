//! The answer to a packet that no peer can have: ICMP "host unreachable" (RFC 792; RFC 1122, section 3.2.2; RFC 1812,
//! section 4.3.2), ICMPv6 "address unreachable" (RFC 4443).
//!
//! It is sent as from the address that was written to. That is an address without our having to know our own; it is
//! reached through the tunnel as far as the host knows, so filters by reverse path let it in; and address
//! translation finds the flow that it is about. Who asked is the host itself or somebody behind it, and for both the
//! answer is a packet that comes out of the tunnel.

use std::time::Duration;

use crate::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use crate::time::Time;

/// The longest answer: IPv6's least MTU (RFC 4443, section 2.4 c).
pub const ANSWER_LEN_MAX: usize = 1_280;
/// The longest answer over IPv4 (RFC 1812, section 4.3.2.3).
const ANSWER_V4_LEN_MAX: usize = 576;
/// As much of a packet as any answer quotes.
pub const QUOTE_LEN_MAX: usize = ANSWER_LEN_MAX - IPV6_HEADER_LEN - ICMP_HEADER_LEN;

const ICMP_HEADER_LEN: usize = 8;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
const HOP_LIMIT: u8 = 64;
/// Precedence "internetwork control" (RFC 1812, section 4.3.2.5).
const TOS_CONTROL: u8 = 0xc0;
const DONT_FRAGMENT: u8 = 0x40;
/// Destination unreachable: host.
const HOST_UNREACHABLE: [u8; 2] = [3, 1];
/// Destination unreachable: address.
const ADDRESS_UNREACHABLE: [u8; 2] = [1, 3];

/// Types of ICMP that are errors: unreachable, source quench, redirect, time exceeded, parameter problem.
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
/// The last type that RFC 792 and its successors gave a meaning that is known not to be an error: address mask reply.
const ICMP_TYPE_MAX: u8 = 18;
/// Types of ICMPv6 below this are errors; redirect is none, and gets no error either.
const ICMP_V6_INFORMATIONAL: u8 = 128;
const ICMP_V6_REDIRECT: u8 = 137;
/// IPv6 extension headers that are looked behind.
const EXTENSIONS_MAX: usize = 8;

/// Whether the sender of `packet` may be told. Not if it is an error itself, or a later fragment, or from or to more
/// than one host, or no whole header.
pub fn may_answer(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => may_answer_v4(packet) == Some(true),
        Some(6) => may_answer_v6(packet) == Some(true),
        _ => false,
    }
}

/// Writes the answer to `packet`, or to its first [`QUOTE_LEN_MAX`] bytes, and returns its length. `None` if
/// [`may_answer`] says no.
///
/// # Panics
/// If `answer` is shorter than [`ANSWER_LEN_MAX`].
pub fn unreachable(packet: &[u8], answer: &mut [u8]) -> Option<usize> {
    if !may_answer(packet) {
        return None;
    }
    let is_v4 = packet[0] >> 4 == 4;
    let (header_len, len_max) =
        if is_v4 { (IPV4_HEADER_LEN, ANSWER_V4_LEN_MAX) } else { (IPV6_HEADER_LEN, ANSWER_LEN_MAX) };
    let quote_at = header_len + ICMP_HEADER_LEN;
    let quoted = packet.len().min(len_max - quote_at);
    let answer = &mut answer[..quote_at + quoted];
    let (headers, quote) = answer.split_at_mut(quote_at);
    headers.fill(0);
    quote.copy_from_slice(&packet[..quoted]);
    if is_v4 {
        complete_v4(packet, answer);
    } else {
        complete_v6(packet, answer);
    }
    Some(answer.len())
}

fn complete_v4(packet: &[u8], answer: &mut [u8]) {
    let len = (answer.len() as u16).to_be_bytes();
    let (ip, icmp) = answer.split_at_mut(IPV4_HEADER_LEN);
    (ip[0], ip[1]) = (0x45, TOS_CONTROL);
    ip[2..4].copy_from_slice(&len);
    (ip[6], ip[8], ip[9]) = (DONT_FRAGMENT, HOP_LIMIT, ICMP);
    ip[12..16].copy_from_slice(&packet[16..20]);
    ip[16..20].copy_from_slice(&packet[12..16]);
    let sum = checksum(&[ip]);
    ip[10..12].copy_from_slice(&sum);
    icmp[..2].copy_from_slice(&HOST_UNREACHABLE);
    let sum = checksum(&[icmp]);
    icmp[2..4].copy_from_slice(&sum);
}

fn complete_v6(packet: &[u8], answer: &mut [u8]) {
    let len = ((answer.len() - IPV6_HEADER_LEN) as u16).to_be_bytes();
    let (ip, icmp) = answer.split_at_mut(IPV6_HEADER_LEN);
    ip[0] = 0x60;
    ip[4..6].copy_from_slice(&len);
    (ip[6], ip[7]) = (ICMP_V6, HOP_LIMIT);
    ip[8..24].copy_from_slice(&packet[24..40]);
    ip[24..40].copy_from_slice(&packet[8..24]);
    icmp[..2].copy_from_slice(&ADDRESS_UNREACHABLE);
    // The pseudo-header of RFC 8200, section 8.1.
    let sum = checksum(&[&ip[8..], &len, &[0, ICMP_V6], icmp]);
    icmp[2..4].copy_from_slice(&sum);
}

/// Of RFC 1071, over pieces of which only the last may have an odd length.
fn checksum(pieces: &[&[u8]]) -> [u8; 2] {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

fn may_answer_v4(packet: &[u8]) -> Option<bool> {
    let header: &[u8; IPV4_HEADER_LEN] = packet.first_chunk()?;
    let [source, destination] = [header[12], header[16]];
    // This network, loopback, and from 224 on multicast, reserved addresses and broadcast are no single host's.
    if matches!(source, 0 | 127 | 224..) || matches!(destination, 224..) {
        return Some(false);
    }
    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    if is_later_fragment {
        return Some(false);
    }
    let kind = packet.get(usize::from(header[0] & 0x0f) * 4);
    Some(header[9] != ICMP || *kind? <= ICMP_TYPE_MAX && !ICMP_ERRORS.contains(kind?))
}

fn may_answer_v6(packet: &[u8]) -> Option<bool> {
    let header: &[u8; IPV6_HEADER_LEN] = packet.first_chunk()?;
    let (source, destination) = (&header[8..24], &header[24..40]);
    let is_multicast = |address: &[u8]| address[0] == 0xff;
    // Unspecified or loopback.
    let is_nobody = source[..15] == [0; 15] && source[15] <= 1;
    if is_nobody || is_multicast(source) || is_multicast(destination) {
        return Some(false);
    }
    let (mut next, mut rest) = (header[6], &packet[IPV6_HEADER_LEN..]);
    for _ in 0..EXTENSIONS_MAX {
        let len = match next {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            // Authentication (RFC 4302).
            51 => (usize::from(*rest.get(1)?) + 2) * 4,
            44 if u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) & 0xfff8 != 0 => return Some(false),
            44 => 8,
            ICMP_V6 => {
                let kind = *rest.first()?;
                return Some(kind >= ICMP_V6_INFORMATIONAL && kind != ICMP_V6_REDIRECT);
            }
            _ => return Some(true),
        };
        (next, rest) = (*rest.first()?, rest.get(len..)?);
    }
    Some(false)
}

/// How many answers may be sent: a bucket of tokens (RFC 4443, section 2.4 f). The default is full.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Credit in nanoseconds as of `updated`.
    credit: Duration,
    updated: Time,
}

impl Allowance {
    /// Answers in a second.
    pub const PER_SECOND: u32 = 100;
    /// Answers at once.
    pub const BURST: u32 = 50;

    const TOKEN: Duration = Duration::from_nanos(1_000_000_000 / Self::PER_SECOND as u64);
    const FULL: Duration = Duration::from_nanos(Self::TOKEN.as_nanos() as u64 * Self::BURST as u64);

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Time) -> bool {
        let credit = (self.credit + now.since(self.updated)).min(Self::FULL);
        self.updated = self.updated.max(now);
        self.credit = credit.checked_sub(Self::TOKEN).unwrap_or(credit);
        credit >= Self::TOKEN
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self { credit: Self::FULL, updated: Time::ZERO }
    }
}

#[cfg(test)]
#[path = "icmp_tests.rs"]
mod tests;
