//! ICMP errors that a stranger makes up: what anybody can send who knows both ends of a conversation.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, sendto, socket,
};

use crate::ping::internet_checksum;
use crate::{Context, Namespace, Result};

const PROTOCOL_UDP: u8 = 17;
/// How long the datagram claims to have been that did not fit.
const CLAIMED_LEN: u16 = 1_480;

/// Tells `victim` that its datagrams to `remote` do not fit through a link of `mtu` bytes: "fragmentation needed" (RFC
/// 1191) or "packet too big" (RFC 4443). It is sent from `stranger`, an address of `namespace`.
///
/// # Errors
/// No raw socket, or no route to the victim.
pub fn packet_too_big(
    namespace: &Namespace,
    stranger: IpAddr,
    victim: SocketAddr,
    remote: SocketAddr,
    mtu: u16,
) -> Result<()> {
    let (family, protocol) = match victim {
        SocketAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        SocketAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = namespace
        .enter(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol))
        .context("opening a raw socket")?;
    let address = |ip| SockaddrStorage::from(SocketAddr::new(ip, 0));
    bind(socket.as_raw_fd(), &address(stranger)).context(format_args!("sending from {stranger}"))?;
    let message = message(victim, remote, mtu);
    sendto(socket.as_raw_fd(), &message, &address(victim.ip()), MsgFlags::empty())
        .context(format_args!("sending an ICMP error to {victim}"))?;
    Ok(())
}

/// The error, and the headers of the datagram that it is about.
fn message(source: SocketAddr, destination: SocketAddr, mtu: u16) -> Vec<u8> {
    let mut message = Vec::new();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            message.extend([3, 4, 0, 0, 0, 0]);
            message.extend(mtu.to_be_bytes());
            let [high, low] = (20 + 8 + CLAIMED_LEN).to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 1, 0x40, 0, 64, PROTOCOL_UDP, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            let checksum = internet_checksum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            message.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            message.extend([2, 0, 0, 0]);
            message.extend(u32::from(mtu).to_be_bytes());
            let [high, low] = (8 + CLAIMED_LEN).to_be_bytes();
            message.extend([0x60, 0, 0, 0, high, low, PROTOCOL_UDP, 64]);
            message.extend(from.octets());
            message.extend(to.octets());
        }
        _ => unreachable!("both ends of a datagram are of one family"),
    }
    message.extend(source.port().to_be_bytes());
    message.extend(destination.port().to_be_bytes());
    message.extend((8 + CLAIMED_LEN).to_be_bytes());
    message.extend([0, 0]);
    if source.is_ipv4() {
        // The kernel fills in the checksum of ICMPv6 only.
        let checksum = internet_checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}
