//! ICMP errors that a gateway writes (RFC 792, RFC 1812, RFC 4443): each is about a packet that came from its TUN
//! device, and goes to whoever sent that.

use super::table::{fold, sum};

const V4_LEN_MAX: usize = 576;
const V6_LEN_MAX: usize = 1_280;
/// Types of ICMP that are errors. Those of ICMPv6 are below 128.
const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];

/// Whether a packet is an ICMP error that says that nobody is reached.
pub(super) fn is_icmp_error(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&1) && packet.get(20) == Some(&3),
        Some(6) => packet.get(6) == Some(&58) && packet.get(40) == Some(&1),
        _ => false,
    }
}

/// What an ICMP error quotes.
///
/// # Errors
/// What is wrong with it.
pub fn check_error(packet: &[u8]) -> Result<&[u8], String> {
    // Host or address unreachable.
    let (is_v4, ip_len, len_max, address_len, says) = match packet.first().map(|first| first >> 4) {
        Some(4) => (true, 20, V4_LEN_MAX, 4, [3, 1]),
        Some(6) => (false, 40, V6_LEN_MAX, 16, [1, 3]),
        _ => return Err("an ICMP error that is no IP packet".to_owned()),
    };
    let (ip, icmp) = packet.split_at_checked(ip_len).ok_or("an ICMP error without a header")?;
    let quote = icmp.get(8..).ok_or("an ICMP error without a header of its own")?;
    let word = |at: usize| usize::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
    let len = if is_v4 { word(2) } else { ip_len + word(4) };
    if icmp[..2] != says {
        return Err(format!("an ICMP error that says {:?}", &icmp[..2]));
    }
    if packet.len() != len || len > len_max {
        return Err(format!("an ICMP error of {} bytes that says {len}", packet.len()));
    }
    let (addresses, pseudo) = if is_v4 { (12, 0) } else { (8, sum(&ip[8..]) + icmp.len() as u64 + u64::from(ip[6])) };
    let header_is_right = !is_v4 || fold(sum(ip)) == 0xffff;
    if !header_is_right || fold(pseudo + sum(icmp)) != 0xffff {
        return Err("an ICMP error with a wrong checksum".to_owned());
    }
    let (from, to) = ends(ip, addresses, address_len).ok_or("it has a header")?;
    if ends(quote, addresses, address_len) != Some((to, from)) {
        return Err("an ICMP error is not for whoever sent what it quotes".to_owned());
    }
    if quotes_error(quote) {
        return Err("an ICMP error about an ICMP error".to_owned());
    }
    Ok(quote)
}

/// Whether an ICMP error is as long as one may be: then there may have been more to quote.
#[must_use]
pub const fn is_longest_error(error: &[u8]) -> bool {
    let len_max = if error[0] >> 4 == 4 { V4_LEN_MAX } else { V6_LEN_MAX };
    error.len() == len_max
}

/// Both addresses of a packet.
fn ends(packet: &[u8], at: usize, len: usize) -> Option<(&[u8], &[u8])> {
    Some(packet.get(at..at + 2 * len)?.split_at(len))
}

fn quotes_error(quote: &[u8]) -> bool {
    match quote[0] >> 4 {
        4 => {
            let header_len = usize::from(quote[0] & 0xf) * 4;
            quote[9] == 1 && quote.get(header_len).is_some_and(|kind| ERRORS.contains(kind))
        }
        _ => quote[6] == 58 && quote.get(40).is_some_and(|&kind| kind < 128),
    }
}

/// A packet that nobody can have, behind a virtio-net header: an empty datagram, or an ICMP error about one.
#[must_use]
pub fn write_unreachable(v6: bool, source: &[u8], destination: &[u8], is_error: bool) -> Vec<u8> {
    let (kind, protocol) = if v6 { (1, 58) } else { (3, 1) };
    let protocol = if is_error { protocol } else { 17 };
    let mut packet = vec![0; super::ROOM];
    if v6 {
        packet.extend_from_slice(&[0x60, 0, 0, 0, 0, 8, protocol, 64]);
    } else {
        packet.extend_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0]);
    }
    packet.extend_from_slice(source);
    packet.extend_from_slice(destination);
    // Nobody looks at the checksums of what is turned back.
    packet.extend_from_slice(&if is_error { [kind, 1, 0, 0, 0, 0, 0, 0] } else { [0, 9, 0, 9, 0, 8, 0, 0] });
    packet
}

#[cfg(test)]
mod tests {
    use ringfort_core::icmp::{ANSWER_LEN_MAX, unreachable};

    use super::*;

    #[test]
    fn what_the_gateway_says_is_understood_and_each_changed_bit_is_noticed() {
        for (v6, address) in [(false, 4), (true, 16)] {
            let packet = write_unreachable(v6, &[10; 16][..address], &[11; 16][..address], false);
            let packet = [&packet[super::super::ROOM..], &[7; 2_000]].concat();
            let mut answer = [0; ANSWER_LEN_MAX];
            let len = unreachable(&packet, &mut answer).expect("it may be answered");
            assert!(is_icmp_error(&answer[..len]) && is_longest_error(&answer[..len]));
            assert_eq!(check_error(&answer[..len]), Ok(&packet[..len - if v6 { 48 } else { 28 }]));
            for bit in 0..8 * len {
                answer[bit / 8] ^= 1 << (bit % 8);
                // Of IPv6 no checksum has the traffic class, the flow label and the hop limit.
                let may_change = v6 && [0..4, 8..32, 56..64].iter().any(|bits| bits.contains(&bit));
                assert!(check_error(&answer[..len]).is_err() || may_change, "bit {bit} of {len} bytes, IPv6 {v6}");
                answer[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
