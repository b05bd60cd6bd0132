//! Control messages: what travels beside a datagram between the kernel and us (`cmsg(3)`, `<linux/socket.h>`,
//! `<linux/in.h>`, `<linux/in6.h>`, `<linux/udp.h>`).
//!
//! | message | out | in |
//! |---|---|---|
//! | `SOL_UDP`/`UDP_SEGMENT` | length of each segment, `u16` | |
//! | `SOL_UDP`/`UDP_GRO` | | length of each segment, `int` |
//! | `IPPROTO_IP`/`IP_PKTINFO` | `in_pktinfo`: source address | local address, interface |
//! | `IPPROTO_IPV6`/`IPV6_PKTINFO` | `in6_pktinfo`: source address, link if needed | local address, interface |
//! | `IPPROTO_IP`/`IP_TOS` | `int` | one byte |
//! | `IPPROTO_IPV6`/`IPV6_TCLASS` | `int` | `int` |
//!
//! Both directions work on fixed-size memory, byte by byte, with every bound checked.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use udp_endpoint::{Endpoint, LocalAddr};

use crate::sockaddr::array;

/// Messages and their data begin at multiples of this (`CMSG_ALIGN`).
const ALIGN: usize = size_of::<usize>();
/// Bytes before the data of a message (`CMSG_LEN(0)`).
const HEADER: usize = align(size_of::<libc::cmsghdr>());

const LEN: usize = offset_of!(libc::cmsghdr, cmsg_len);
const LEVEL: usize = offset_of!(libc::cmsghdr, cmsg_level);
const TYPE: usize = offset_of!(libc::cmsghdr, cmsg_type);

const PKTINFO: usize = size_of::<libc::in_pktinfo>();
const PKTINFO_IFINDEX: usize = offset_of!(libc::in_pktinfo, ipi_ifindex);
const PKTINFO_ADDR: usize = offset_of!(libc::in_pktinfo, ipi_spec_dst);
const PKTINFO6: usize = size_of::<libc::in6_pktinfo>();
const PKTINFO6_ADDR: usize = offset_of!(libc::in6_pktinfo, ipi6_addr);
const PKTINFO6_IFINDEX: usize = offset_of!(libc::in6_pktinfo, ipi6_ifindex);

/// Room for everything that we send beside a datagram: source, traffic class, segment length.
pub const SEND_CONTROL_LEN: usize = space(PKTINFO6) + space(size_of::<libc::c_int>()) + space(size_of::<u16>());

/// Room for everything that the sockets ask the kernel for: local address, traffic class, GRO stride.
pub const RECEIVE_CONTROL_LEN: usize = space(PKTINFO6) + 2 * space(size_of::<libc::c_int>());

/// The two bits of the traffic class that carry Explicit Congestion Notification (RFC 3168).
pub const ECN_MASK: u8 = 0b11;

const fn align(n: usize) -> usize {
    n.next_multiple_of(ALIGN)
}

/// Bytes that a message with `data` bytes of data takes (`CMSG_SPACE`).
const fn space(data: usize) -> usize {
    HEADER + align(data)
}

/// The control messages of one outgoing datagram or train.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub struct SendControl {
    bytes: [u8; SEND_CONTROL_LEN],
    len: usize,
}

impl Default for SendControl {
    fn default() -> Self {
        Self { bytes: [0; SEND_CONTROL_LEN], len: 0 }
    }
}

impl SendControl {
    /// Replaces what is in here by the messages for a datagram on `endpoint`; see [`write_control`].
    pub fn fill(&mut self, endpoint: &Endpoint, traffic_class: u8, segment: Option<u16>) {
        self.len = write_control(&mut self.bytes, endpoint, traffic_class, segment);
    }

    /// The messages, for `msg_control`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes the messages for a datagram on `endpoint`, and returns their length.
///
/// * The endpoint's source is set if it has one of the remote's family.
/// * `traffic_class` (ECN in its two low bits, DSCP above) is set unless it is 0, which is what a socket has anyway.
/// * `segment`: the kernel cuts the datagram into pieces of that many bytes.
#[must_use]
pub fn write_control(
    out: &mut [u8; SEND_CONTROL_LEN],
    endpoint: &Endpoint,
    traffic_class: u8,
    segment: Option<u16>,
) -> usize {
    let mut writer = ControlWriter { out, len: 0 };
    writer.write(endpoint, traffic_class, segment);
    writer.len
}

struct ControlWriter<'a> {
    out: &'a mut [u8; SEND_CONTROL_LEN],
    len: usize,
}

impl ControlWriter<'_> {
    fn write(&mut self, endpoint: &Endpoint, traffic_class: u8, segment: Option<u16>) {
        if let Some(source) = endpoint.usable_source() {
            self.push_source(source);
        }
        if traffic_class != 0 {
            let (level, kind) = match endpoint.remote.is_ipv4() {
                true => (libc::IPPROTO_IP, libc::IP_TOS),
                false => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            self.push(level, kind, libc::c_int::from(traffic_class).to_ne_bytes());
        }
        if let Some(segment) = segment {
            self.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment.to_ne_bytes());
        }
    }

    fn push_source(&mut self, source: LocalAddr) {
        match source.addr {
            IpAddr::V4(addr) => {
                // The interface stays 0: a set one would bind the route to it, and where it has no route to the
                // remote, the kernel would take the remote for a neighbour on that link and lose every packet.
                let mut data = [0; PKTINFO];
                data[PKTINFO_ADDR..PKTINFO_ADDR + 4].copy_from_slice(&addr.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, data);
            }
            IpAddr::V6(addr) => {
                let link = if addr.is_unicast_link_local() { source.ifindex } else { 0 };
                let mut data = [0; PKTINFO6];
                data[PKTINFO6_ADDR..PKTINFO6_ADDR + 16].copy_from_slice(&addr.octets());
                data[PKTINFO6_IFINDEX..PKTINFO6_IFINDEX + 4].copy_from_slice(&link.to_ne_bytes());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, data);
            }
        }
    }

    fn push<const N: usize>(&mut self, level: libc::c_int, kind: libc::c_int, data: [u8; N]) {
        let message = &mut self.out[self.len..][..space(N)];
        message.fill(0);
        message[LEN..LEN + size_of::<usize>()].copy_from_slice(&(HEADER + N).to_ne_bytes());
        message[LEVEL..LEVEL + 4].copy_from_slice(&level.to_ne_bytes());
        message[TYPE..TYPE + 4].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER..HEADER + N].copy_from_slice(&data);
        self.len += space(N);
    }
}

/// What the kernel said beside a received datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveControl {
    /// Length in bytes of each of the datagrams that were merged (the last may be shorter); `None` if it is just one.
    pub stride: Option<usize>,
    /// ECN bits of the outer header; 0 if the kernel did not say.
    pub ecn: u8,
    /// The address that it came to, and the interface that it came in by.
    pub local: Option<LocalAddr>,
}

impl ReceiveControl {
    /// Reads the control messages of a received datagram. Unknown messages are passed over; what is cut off or makes
    /// no sense ends the reading, and what was understood up to there holds.
    #[must_use]
    pub fn parse(control: &[u8]) -> Self {
        let mut out = Self::default();
        let mut rest = control;
        while let Some((level, kind, data, after)) = next_message(rest) {
            out.take(level, kind, data);
            rest = after;
        }
        out
    }

    fn take(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                self.stride = array(data, 0)
                    .map(libc::c_int::from_ne_bytes)
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|&n| n > 0);
            }
            // One byte or an int, in either byte order of which the other bytes are zero.
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                self.ecn = match *data {
                    [tos] => tos & ECN_MASK,
                    _ => int_ecn(data),
                };
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => self.ecn = int_ecn(data),
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => self.local = local_v4(data),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => self.local = local_v6(data),
            _ => {}
        }
    }
}

fn int_ecn(data: &[u8]) -> u8 {
    let class = array(data, 0).map_or(0, libc::c_int::from_ne_bytes);
    class.to_le_bytes()[0] & ECN_MASK
}

fn local_v4(data: &[u8]) -> Option<LocalAddr> {
    let addr = Ipv4Addr::from(array::<4>(data, PKTINFO_ADDR)?);
    let ifindex = u32::from_ne_bytes(array(data, PKTINFO_IFINDEX)?);
    let usable = data.len() >= PKTINFO && !addr.is_unspecified() && !addr.is_multicast();
    usable.then_some(LocalAddr { addr: addr.into(), ifindex })
}

fn local_v6(data: &[u8]) -> Option<LocalAddr> {
    let addr = Ipv6Addr::from(array::<16>(data, PKTINFO6_ADDR)?);
    let ifindex = u32::from_ne_bytes(array(data, PKTINFO6_IFINDEX)?);
    // Unlike IPv4's `ipi_spec_dst`, this is the destination of the datagram as it came, so it may be a group's.
    let usable = !addr.is_unspecified() && !addr.is_multicast();
    usable.then_some(LocalAddr { addr: addr.into(), ifindex })
}

/// Level, type and data of the first message, and what follows it.
fn next_message(bytes: &[u8]) -> Option<(libc::c_int, libc::c_int, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(array(bytes, LEN)?);
    let level = libc::c_int::from_ne_bytes(array(bytes, LEVEL)?);
    let kind = libc::c_int::from_ne_bytes(array(bytes, TYPE)?);
    let data = bytes.get(HEADER..len)?;
    let after = bytes.get(align(len)..).unwrap_or_default();
    Some((level, kind, data, after))
}

#[cfg(test)]
#[path = "cmsg_tests.rs"]
mod tests;
