//! What goes over a wire: the UDP datagrams that a namespace receives and sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::{Context, Namespace, Result};

const PROTOCOL_UDP: u8 = 17;
const UDP_HEADER_LEN: usize = 8;

/// A UDP datagram as it was seen.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// DSCP and ECN: the type of service of IPv4, the traffic class of IPv6.
    pub traffic_class: u8,
    /// What it carried.
    pub payload: Vec<u8>,
}

/// A packet socket that sees every interface of a namespace, from when it was made.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Begins to listen.
    ///
    /// # Errors
    /// No packet socket.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let socket = namespace
            .enter(|| socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll))
            .context("opening a packet socket")?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).context("setting a timeout")?;
        Ok(Self { socket })
    }

    /// The unfragmented datagrams to UDP port `port` that are seen within `time`, those since the start included.
    pub fn datagrams(&self, port: u16, time: Duration) -> Vec<Datagram> {
        self.datagrams_until(port, time, |_| false)
    }

    /// The same, but only until they are `enough`. For what is bound to come: `time` is how long it may take.
    pub fn datagrams_until(&self, port: u16, time: Duration, enough: impl Fn(&[Datagram]) -> bool) -> Vec<Datagram> {
        let deadline = Instant::now() + time;
        let mut buffer = vec![0; 65_535];
        let mut datagrams = Vec::new();
        while !enough(&datagrams) {
            // What has come counts, even if this thread was not run until now.
            let flags = if Instant::now() < deadline { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
            match recv(self.socket.as_raw_fd(), &mut buffer, flags) {
                Ok(len) => {
                    datagrams.extend(parse(&buffer[..len]).filter(|datagram| datagram.destination.port() == port))
                }
                Err(_) if flags.is_empty() => {}
                Err(_) => break,
            }
        }
        datagrams
    }
}

/// An IP packet without link header; IPv6 extension headers are not followed.
fn parse(packet: &[u8]) -> Option<Datagram> {
    let version = packet.first()? >> 4;
    let (header_len, protocol, source, destination): (usize, u8, IpAddr, IpAddr) = match version {
        4 if packet.len() >= 20 => {
            let fragmented = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
            let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
            let protocol = if fragmented { 0 } else { packet[9] };
            (usize::from(packet[0] & 0x0f) * 4, protocol, address(12).into(), address(16).into())
        }
        6 if packet.len() >= 40 => {
            let address = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).map(Ipv6Addr::from).ok();
            (40, packet[6], address(8)?.into(), address(24)?.into())
        }
        _ => return None,
    };
    let datagram = packet.get(header_len..).filter(|rest| protocol == PROTOCOL_UDP && rest.len() >= UDP_HEADER_LEN)?;
    let port = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
    let traffic_class = if version == 4 { packet[1] } else { packet[0] << 4 | packet[1] >> 4 };
    Some(Datagram {
        traffic_class,
        source: SocketAddr::new(source, port(0)),
        destination: SocketAddr::new(destination, port(2)),
        payload: datagram.get(UDP_HEADER_LEN..usize::from(port(4)))?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_taken_apart() {
        let mut packet = vec![0x45, 0x2b, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x12, 0x34, 0xca, 0x6c, 0, 11, 0, 0, b'a', b'b', b'c']);
        let datagram = parse(&packet).unwrap();
        assert_eq!(datagram.source, "10.0.0.1:4660".parse().unwrap());
        assert_eq!(datagram.destination, "10.0.0.2:51820".parse().unwrap());
        assert_eq!(datagram.payload, b"abc");
        assert_eq!(datagram.traffic_class, 0x2b);
        packet[6] = 0x20;
        assert!(parse(&packet).is_none(), "a fragment is not a datagram");
        assert!(parse(&[]).is_none());
        assert!(parse(&[0x45; 19]).is_none());
    }
}
