//! What a gateway delivers: a packet socket that sees the interface of the tunnel.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use ringfort_testbed::Namespace;

use super::packets;

pub struct Watcher {
    socket: OwnedFd,
    index: usize,
}

impl Watcher {
    pub fn new(namespace: &Namespace, interface: &str) -> Self {
        let (socket, index) = namespace.enter(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll).unwrap();
            setsockopt(&socket, sockopt::RcvBuf, &(4 << 20)).unwrap();
            (socket, nix::net::if_::if_nametoindex(interface).unwrap() as usize)
        });
        Self { socket, index }
    }

    /// Packets that came out of the tunnel since the last look, those of witnesses left out.
    pub fn delivered(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; 65_535];
        while let Ok((len, from)) = self.receive(&mut buffer) {
            let is_outgoing = from.pkttype() == libc::PACKET_OUTGOING;
            let is_ours = from.ifindex() == self.index && !is_outgoing && !packets::is_of_witness(&buffer[..len]);
            packets.extend(is_ours.then(|| buffer[..len].to_vec()));
        }
        packets
    }

    fn receive(&self, buffer: &mut [u8]) -> nix::Result<(usize, LinkAddr)> {
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
                Ok((len, Some(from))) => return Ok((len, from)),
                Ok((_, None)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
