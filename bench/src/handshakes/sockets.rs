//! The sockets of the clients: few sockets, many source addresses.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt, sockopt};
use ringfort_testbed::{Context, Namespace, Result};

use crate::players::{self, Watch};

/// What a socket may hold while the thread of the load is busy, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The first of the clients' own addresses; the namespace takes all of 10.128.0.0/16 for its own.
const ADDRESSES: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);

/// Where a client sends from.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress {
    socket: usize,
    address: Ipv4Addr,
}

/// All sockets of the load.
pub struct Sockets {
    sockets: Vec<UdpSocket>,
    watch: Watch,
    gateway: SockaddrIn,
}

impl Sockets {
    /// Sockets in `namespace` for `clients` clients on `addresses` addresses, which talk to `gateway`. Clients of one
    /// address have a port each.
    ///
    /// # Errors
    /// The kernel has no room for so many.
    pub fn new(namespace: &Namespace, clients: u32, addresses: u32, gateway: SocketAddrV4) -> Result<Self> {
        let count = clients.div_ceil(addresses);
        players::allow_sockets(count)?;
        // Every address of the network is local, without being an address of an interface.
        namespace.ip(&format!("route add local {ADDRESSES}/16 dev lo"))?;
        let watch = Watch::new()?;
        let sockets: Vec<UdpSocket> = namespace.enter(|| (0..count).map(|_| bind()).collect::<Result<_>>())?;
        sockets.iter().enumerate().try_for_each(|(number, socket)| watch.add(socket, number))?;
        Ok(Self { sockets, watch, gateway: gateway.into() })
    }

    /// Gives the other end a way back to the clients, which are behind `via`.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn route_back(namespace: &Namespace, via: std::net::IpAddr) -> Result<()> {
        namespace.ip(&format!("route add {ADDRESSES}/16 via {via}")).map(drop)
    }

    /// Sends a datagram to the gateway. False: the kernel did not take it.
    pub fn send(&self, source: ClientAddress, datagram: &[u8]) -> bool {
        let spec_dst = in_addr { s_addr: u32::from(source.address).to_be() };
        let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec_dst, ipi_addr: in_addr { s_addr: 0 } };
        let socket = self.sockets[source.socket].as_raw_fd();
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let parts = [IoSlice::new(datagram)];
        sendmsg(socket, &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&self.gateway)).is_ok()
    }

    /// Waits until a datagram is there, `most` at the longest.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, most: Duration) -> Result<()> {
        self.watch.wait(most)
    }

    /// Gives each datagram that is there to `take`, and returns how many there were.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize> {
        let mut buffer = [0; 2_048];
        let mut datagrams = 0;
        for number in self.watch.ready()? {
            // What the kernel reports of a datagram that could not be delivered is no datagram.
            while let Ok(len) = self.sockets[number].recv(&mut buffer) {
                take(&buffer[..len]);
                datagrams += 1;
            }
        }
        Ok(datagrams)
    }
}

/// Where client `client` sends from, of clients that have `addresses` addresses.
pub fn client_address(client: u32, addresses: u32) -> ClientAddress {
    let address = Ipv4Addr::from_bits(ADDRESSES.to_bits() + client % addresses + 1);
    ClientAddress { socket: (client / addresses) as usize, address }
}

fn bind() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("binding a socket of the load")?;
    socket.set_nonblocking(true).context("making a socket non-blocking")?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("enlarging a receive buffer")?;
    Ok(socket)
}
