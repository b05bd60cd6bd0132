//! What the network says of handshakes that it could not deliver: ICMP errors, read from raw sockets.
//!
//! The sockets of the workers must not hear of them: an error that anybody can send would fail their next call. So
//! control has sockets of its own for it. The kernel gives them nothing but "destination unreachable". They are small,
//! and control looks at a few messages a second at most, so a flood of them costs next to nothing. A message counts
//! only if it quotes an initiation of ours with the index that we chose at random: nobody off the path knows that.
//!
//! Without CAP_NET_RAW, as in some containers, there are no such sockets, and these news are missing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBuf;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, setsockopt, socket,
};
use ringfort_core::device::{Device, Unreachable};
use ringfort_core::time::Time;
use ringfort_core::wire::TYPE_INITIATION;

/// How often the sockets are looked at, and how many messages are then read of each.
const INTERVAL: Duration = Duration::from_secs(1);
const MESSAGES_MAX: usize = 32;
/// Bytes that the kernel keeps for us in each.
const RECEIVE_BUFFER: usize = 16 << 10;
/// Routers quote up to 576 bytes (RFC 1812), or 1280 (RFC 4443); all that matters is at the front.
const MESSAGE_LEN: usize = 256;

const UDP: u8 = 17;
const UDP_HEADER_LEN: usize = 8;
const ICMP_HEADER_LEN: usize = 8;
const IPV6_HEADER_LEN: usize = 40;

/// The sockets, as far as the system gives them.
#[derive(Debug)]
pub struct Unreachables {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
    next: Time,
}

/// An initiation of ours that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct News {
    remote: SocketAddr,
    /// The index in the initiation.
    index: u32,
    unreachable: Unreachable,
}

impl Unreachables {
    /// Opens the sockets. Those that cannot be had are done without.
    pub fn new() -> Self {
        let told = |result: nix::Result<OwnedFd>, family| {
            result.inspect_err(|errno| log::debug!("no ICMP errors over {family} will be seen: {}", errno.desc())).ok()
        };
        Self { v4: told(open_v4(), "IPv4"), v6: told(open_v6(), "IPv6"), next: Time::ZERO }
    }

    /// Whether nothing can be heard, of neither family.
    pub fn is_deaf(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// Tells the device what has come, if it is time to look.
    pub fn step(&mut self, now: Time, device: &mut Device) {
        if now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        let mut buffer = [0; MESSAGE_LEN];
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            for _ in 0..MESSAGES_MAX {
                let received = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer);
                let Ok((len, from)) = received else { break };
                let Some(reporter) = from.as_ref().and_then(address) else { continue };
                let message = &buffer[..len.min(MESSAGE_LEN)];
                let news = if reporter.is_ipv4() { parse_v4(message) } else { parse_v6(message) };
                if let Some(News { remote, index, unreachable }) = news {
                    device.note_unreachable(now, remote, index, unreachable, reporter);
                }
            }
        }
    }
}

fn address(from: &SockaddrStorage) -> Option<IpAddr> {
    match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

fn open_v4() -> nix::Result<OwnedFd> {
    let socket = open(AddressFamily::Inet, SockProtocol::Icmp)?;
    // A set bit keeps its type away (raw(7)).
    let others = !(1_u32 << ICMP_DEST_UNREACH);
    set_filter(&socket, libc::SOL_RAW, ICMP_FILTER, &[others])?;
    Ok(socket)
}

fn open_v6() -> nix::Result<OwnedFd> {
    let socket = open(AddressFamily::Inet6, SockProtocol::IcmpV6)?;
    let mut others = [u32::MAX; 8];
    others[0] &= !(1 << ICMPV6_DEST_UNREACH);
    set_filter(&socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &others)?;
    Ok(socket)
}

fn open(family: AddressFamily, protocol: SockProtocol) -> nix::Result<OwnedFd> {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?;
    setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER)?;
    Ok(socket)
}

/// `include/uapi/linux/icmp.h` and `icmpv6.h`.
const ICMP_DEST_UNREACH: u32 = 3;
const ICMP_FILTER: libc::c_int = 1;
const ICMPV6_DEST_UNREACH: u32 = 1;
const ICMPV6_FILTER: libc::c_int = 1;

fn set_filter(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, filter: &[u32]) -> nix::Result<()> {
    let len = size_of_val(filter) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `filter`, which has that size.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, filter.as_ptr().cast(), len) };
    Errno::result(result).map(drop)
}

/// A message as a raw socket of IPv4 has it, with its IP header.
fn parse_v4(packet: &[u8]) -> Option<News> {
    let icmp = packet.get(ipv4_header_len(packet)?..)?;
    let (&[kind, code, ..], quoted) = (icmp.first_chunk::<ICMP_HEADER_LEN>()?, &icmp[ICMP_HEADER_LEN..]);
    let unreachable = match code {
        _ if u32::from(kind) != ICMP_DEST_UNREACH => return None,
        0 | 5 | 6 | 11 => Unreachable::Network,
        1 | 7 | 8 | 12 => Unreachable::Host,
        3 => Unreachable::Port,
        9 | 10 | 13 => Unreachable::Prohibited,
        // Among them 4: a datagram that is too large, which a handshake is not.
        _ => return None,
    };
    let header_len = ipv4_header_len(quoted)?;
    if quoted[9] != UDP {
        return None;
    }
    let to = Ipv4Addr::from(*quoted.get(16..)?.first_chunk::<4>()?);
    initiation(quoted.get(header_len..)?, to.into(), unreachable)
}

/// A message as a raw socket of IPv6 has it, without an IP header.
fn parse_v6(icmp: &[u8]) -> Option<News> {
    let (&[kind, code, ..], quoted) = (icmp.first_chunk::<ICMP_HEADER_LEN>()?, &icmp[ICMP_HEADER_LEN..]);
    let unreachable = match code {
        _ if u32::from(kind) != ICMPV6_DEST_UNREACH => return None,
        0 | 2 => Unreachable::Network,
        3 => Unreachable::Host,
        4 => Unreachable::Port,
        1 | 5 | 6 => Unreachable::Prohibited,
        _ => return None,
    };
    let header = quoted.first_chunk::<IPV6_HEADER_LEN>()?;
    if header[0] >> 4 != 6 || header[6] != UDP {
        return None;
    }
    let to = Ipv6Addr::from(*header[24..].first_chunk::<16>()?);
    initiation(&quoted[IPV6_HEADER_LEN..], to.into(), unreachable)
}

fn ipv4_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let len = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && len >= 20 && packet.len() >= len).then_some(len)
}

/// The initiation that a quoted datagram is the beginning of.
fn initiation(datagram: &[u8], to: IpAddr, unreachable: Unreachable) -> Option<News> {
    let (header, payload) = datagram.split_first_chunk::<UDP_HEADER_LEN>()?;
    let port = u16::from_be_bytes([header[2], header[3]]);
    let &[kind, _, _, _, ref index @ ..] = payload.first_chunk::<8>()?;
    let index = u32::from_le_bytes(*index);
    (kind == TYPE_INITIATION).then_some(News { remote: SocketAddr::new(to, port), index, unreachable })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use nix::sys::socket::{MsgFlags, recv};
    use ringfort_testbed::scratch::{in_namespace, ip};

    use super::*;

    const INDEX: [u8; 4] = [0xaa, 0xbb, 0xcc, 0xdd];

    fn start_of_initiation() -> [u8; 8] {
        [&[TYPE_INITIATION, 0, 0, 0], &INDEX[..]].concat().try_into().unwrap()
    }

    fn quoted_v4() -> Vec<u8> {
        let mut packet = vec![0x45; 20];
        packet.extend([3, 3, 0, 0, 0, 0, 0, 0]);
        let mut quoted = [0x45_u8; 20];
        quoted[9] = UDP;
        quoted[16..].copy_from_slice(&[192, 0, 2, 1]);
        packet.extend(quoted);
        packet.extend([0x12, 0x34, 0xca, 0x6c, 0, 0, 0, 0]);
        packet.extend(start_of_initiation());
        packet
    }

    #[test]
    fn an_initiation_is_recognised_and_nothing_else() {
        let good = quoted_v4();
        let remote = "192.0.2.1:51820".parse().unwrap();
        let index = u32::from_le_bytes(INDEX);
        assert_eq!(parse_v4(&good), Some(News { remote, index, unreachable: Unreachable::Port }));
        for len in 0..good.len() {
            assert_eq!(parse_v4(&good[..len]), None, "cut at {len}");
        }
        // The kind of error, what it quotes, and the kind of message.
        for (at, value) in [(20, 11), (21, 4), (28, 0x65), (28, 0x41), (37, 6), (56, 4)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(parse_v4(&bad), None, "{value} at {at}");
        }
        assert_eq!(parse_v6(&good[20..]), None);
    }

    /// The kernel says of a port that nobody listens on what we read here, over both families.
    #[test]
    fn the_kernels_own_errors_are_understood() {
        in_namespace(|| {
            ip("link set lo up");
            for (open, local, parse) in [
                (open_v4 as fn() -> nix::Result<OwnedFd>, "127.0.0.1", parse_v4 as fn(&[u8]) -> Option<News>),
                (open_v6, "::1", |message| parse_v6(message)),
            ] {
                let errors = open().unwrap();
                let local: IpAddr = local.parse().unwrap();
                let remote = SocketAddr::new(local, 9);
                UdpSocket::bind((local, 0)).unwrap().send_to(&start_of_initiation(), remote).unwrap();
                let mut buffer = [0; MESSAGE_LEN];
                // On the loopback interface it is there when the call returns.
                let len = recv(errors.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
                let index = u32::from_le_bytes(INDEX);
                assert_eq!(parse(&buffer[..len]), Some(News { remote, index, unreachable: Unreachable::Port }));
            }
        });
    }
}
