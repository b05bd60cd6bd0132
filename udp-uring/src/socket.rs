//! The sockets of one port: an IPv4 and an IPv6 socket per worker, in one reuseport group per family.
//!
//! The group is exclusive against other programs although its members share the port: the first member of a family is
//! bound *without* `SO_REUSEPORT`, so any other socket on the port makes it fail with `EADDRINUSE`, and gets the
//! option afterwards, so the other members can join it. (Setting the option on all before binding would let two
//! gateways of the same user run on one port and steal each other's datagrams.) The first stays at position 0 of the
//! group and the others follow in the order of binding, which is what [`crate::reuseport`] relies on: closing a single
//! member would move the last one into its place, hence a group is opened and closed as a whole.
//!
//! # Path MTU
//!
//! Anybody who knows both endpoints can send an ICMP "fragmentation needed" or "packet too big" that looks right: all
//! that the kernel checks of it are addresses and ports. With `IP_PMTUDISC_DONT` it lowers the MTU of the route for ten
//! minutes, to 552 bytes if asked to; lone datagrams then leave in fragments, and trains are refused. So the sockets
//! have `IP_PMTUDISC_OMIT` and `IPV6_PMTUDISC_OMIT` (Linux 3.15): such messages are not listened to, and of the way out
//! only the device's own MTU counts, for lone datagrams and trains alike.
//!
//! What that means for a way that really is narrower than the tunnel's MTU asks for:
//!
//! * The narrow link is our own device: the kernel fragments lone datagrams and refuses trains, whose datagrams then
//!   leave one by one (`gso.rs`). Nothing is lost.
//! * It is somewhere on the way, IPv4: outer packets have no "don't fragment" bit, as the kernel's WireGuard sends them
//!   (`skb->ignore_df`), so the router before the narrow link fragments them. Nothing is lost.
//! * It is somewhere on the way, IPv6: routers do not fragment, and we do not hear them. The operator sets the tunnel's
//!   MTU to what fits, at most the path's less 80 bytes; so does TCP's MSS then. An MTU that was set on a route (`ip
//!   route … mtu`) does not count either, except that wg-quick(8) derives the tunnel's from it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SetSockOpt, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};
use udp_endpoint::Bind;

use crate::error::{BindError, Family};
use crate::reuseport;

/// How often another port is tried when the one that the kernel chose for IPv4 is taken for IPv6.
const FREE_PORT_ATTEMPTS: usize = 100;

/// What the sockets are opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// The port, in host byte order; 0: any that is free in both families.
    pub port: u16,
    /// Number of workers, each with a socket per family.
    pub workers: u8,
    /// What they are bound to beside the port.
    pub bind: Bind,
    /// Mark of outgoing packets for policy routing; 0: none.
    pub fwmark: u32,
    /// Size of each receive buffer in bytes, as for `SO_RCVBUF`; 0: the system's default.
    pub receive_buffer: usize,
    /// Size of each send buffer in bytes, as for `SO_SNDBUF`; 0: the system's default.
    pub send_buffer: usize,
}

impl SocketConfig {
    /// A receive buffer that takes what a fast peer sends while the worker waits for its core: some ten milliseconds at
    /// 10 Gbit/s. What does not fit is lost, after the peer has paid for it. Each worker has one for each family; it is
    /// the kernel's memory, and taken only while something waits.
    pub const RECEIVE_BUFFER_LEN: usize = 16 << 20;
    /// A send buffer that takes bursts: trains of 64 KiB leave back to back.
    pub const SEND_BUFFER_LEN: usize = 4 << 20;

    /// No mark, and buffers of [`Self::RECEIVE_BUFFER_LEN`] and [`Self::SEND_BUFFER_LEN`].
    #[must_use]
    pub const fn new(port: u16, workers: u8) -> Self {
        let (receive_buffer, send_buffer) = (Self::RECEIVE_BUFFER_LEN, Self::SEND_BUFFER_LEN);
        Self { port, workers, bind: Bind::Any, fwmark: 0, receive_buffer, send_buffer }
    }
}

/// What the kernel offers on these sockets, found by asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// `UDP_SEGMENT`: a train leaves with one call (Linux 4.18).
    pub gso: bool,
    /// `UDP_GRO`: a train arrives with one call (Linux 5.0).
    pub gro: bool,
}

/// All sockets of one port. Control keeps it; each worker gets duplicates of its own pair.
///
/// The port is free again when the group, every pair taken from it and every ring that a socket was registered with
/// have let go.
#[derive(Debug)]
pub struct SocketGroup {
    port: u16,
    offloads: Offloads,
    pairs: Vec<SocketPair>,
}

impl SocketGroup {
    /// Opens the sockets. IPv6 that is disabled is done without.
    ///
    /// # Errors
    /// [`BindError`]; nothing is left open.
    pub fn bind(config: &SocketConfig) -> Result<Self, BindError> {
        if config.workers == 0 {
            return Err(BindError::NoWorkers);
        }
        for _ in 0..FREE_PORT_ATTEMPTS {
            match Self::bind_once(config) {
                Err(BindError::PortInUse { family: Family::V6, .. }) if config.port == 0 && config.bind.is_dual() => {}
                outcome => return outcome,
            }
        }
        Err(BindError::NoFreePort)
    }

    fn bind_once(config: &SocketConfig) -> Result<Self, BindError> {
        let v4 = open_family(Family::V4, config.port, config)?;
        let port = v4.first().map_or(Ok(config.port), port_of)?;
        let v6 = match open_family(Family::V6, port, config) {
            Err(e) if config.bind.is_dual() && is_family_missing(&e) => Vec::new(),
            sockets => sockets?,
        };
        let first = v4.first().or(v6.first()).expect("one of the families is used");
        let port = port_of(first)?;
        // Every family has the same offloads: both are asked for at the UDP layer.
        let offloads = Offloads { gso: probe_gso(first), gro: v4.iter().chain(&v6).all(enable_gro) };
        let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
        let pair = |_| SocketPair { v4: v4.next(), v6: v6.next(), offloads };
        Ok(Self { port, offloads, pairs: (0..config.workers).map(pair).collect() })
    }

    /// The group of which these are all sockets, IPv4 and IPv6 of each worker, as another process has
    /// [opened](Self::bind) and given them.
    ///
    /// # Errors
    /// [`BindError::NoWorkers`] without any, and [`BindError::Option`] if one is no socket of a port.
    pub fn resume(sockets: Vec<(Option<OwnedFd>, Option<OwnedFd>)>) -> Result<Self, BindError> {
        let first = sockets.iter().find_map(|(v4, v6)| v4.as_ref().or(v6.as_ref())).ok_or(BindError::NoWorkers)?;
        let port = port_of(first)?;
        let all = sockets.iter().flat_map(|(v4, v6)| v4.iter().chain(v6));
        let offloads = Offloads { gso: probe_gso(first), gro: all.filter(|socket| !enable_gro(socket)).count() == 0 };
        let pairs = sockets.into_iter().map(|(v4, v6)| SocketPair { v4, v6, offloads }).collect();
        Ok(Self { port, offloads, pairs })
    }

    /// Opens sockets for more workers, so many as `config` says in all, and steers datagrams to all of them.
    ///
    /// # Errors
    /// [`BindError`]. Then there are as many as before.
    pub fn grow(&mut self, config: &SocketConfig) -> Result<(), BindError> {
        let config = SocketConfig { port: self.port, ..*config };
        let missing = usize::from(config.workers).saturating_sub(self.pairs.len());
        let mut more = Vec::new();
        for _ in 0..missing {
            let one = |family, has: bool| has.then(|| open_member(family, &config)).transpose();
            let v4 = one(Family::V4, self.pairs[0].v4.is_some())?;
            more.push(SocketPair { v4, v6: one(Family::V6, self.has_v6())?, offloads: self.offloads });
        }
        for socket in more.iter().flat_map(SocketPair::sockets) {
            let _ = setsockopt(&socket, sockopt::UdpGroSegment, &self.offloads.gro);
        }
        if !more.is_empty() {
            for first in self.pairs[0].sockets() {
                reuseport::attach(&first, config.workers)?;
            }
        }
        self.pairs.append(&mut more);
        Ok(())
    }

    /// The port that the sockets are bound to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the kernel offers.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Whether there are IPv6 sockets.
    #[must_use]
    pub fn has_v6(&self) -> bool {
        self.pairs[0].v6.is_some()
    }

    /// Number of workers that the group was opened for.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.pairs.len()
    }

    /// The sockets of a worker, to borrow: control sends its handshakes through those of worker 0.
    ///
    /// # Panics
    /// If there is no such worker.
    #[must_use]
    pub fn pair(&self, worker: usize) -> &SocketPair {
        &self.pairs[worker]
    }

    /// Sets the mark of outgoing packets on all sockets; 0 clears it. Sources that were learned under another mark
    /// may be of the wrong route: the caller forgets them.
    ///
    /// # Errors
    /// The system's error, `EPERM` without `CAP_NET_ADMIN`.
    pub fn set_fwmark(&self, fwmark: u32) -> Result<(), BindError> {
        self.pairs.iter().flat_map(SocketPair::sockets).try_for_each(|s| set(&s, "SO_MARK", sockopt::Mark, &fwmark))
    }
}

/// The sockets of one worker.
#[derive(Debug)]
pub struct SocketPair {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
    offloads: Offloads,
}

impl SocketPair {
    /// Duplicates of the descriptors, for another thread.
    ///
    /// # Errors
    /// The system's error, `EMFILE` among others.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        let copy = |socket: &Option<OwnedFd>| socket.as_ref().map(OwnedFd::try_clone).transpose();
        Ok(Self { v4: copy(&self.v4)?, v6: copy(&self.v6)?, offloads: self.offloads })
    }

    /// The IPv4 socket, unless it is bound to an IPv6 address.
    #[must_use]
    pub fn v4(&self) -> Option<BorrowedFd<'_>> {
        self.v4.as_ref().map(AsFd::as_fd)
    }

    /// The IPv6 socket, unless the system has no IPv6, or it is bound to an IPv4 address.
    #[must_use]
    pub fn v6(&self) -> Option<BorrowedFd<'_>> {
        self.v6.as_ref().map(AsFd::as_fd)
    }

    /// The socket that reaches `remote`.
    #[must_use]
    pub fn towards(&self, remote: &SocketAddr) -> Option<BorrowedFd<'_>> {
        match remote {
            SocketAddr::V4(_) => self.v4(),
            SocketAddr::V6(_) => self.v6(),
        }
    }

    /// What the kernel offers on them.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.v4().into_iter().chain(self.v6())
    }
}

/// One bound socket per worker, steered if there is more than one. None, if the family is not used.
fn open_family(family: Family, port: u16, config: &SocketConfig) -> Result<Vec<OwnedFd>, BindError> {
    let Some(address) = address_of(family, config) else { return Ok(Vec::new()) };
    let first = open(family, config)?;
    bind_to(&first, SocketAddr::new(address, port))?;
    let port = port_of(&first)?;
    set(&first, "SO_REUSEPORT", sockopt::ReusePort, &true)?;
    let mut sockets = vec![first];
    let config = &SocketConfig { port, ..*config };
    for _ in 1..config.workers {
        sockets.push(open_member(family, config)?);
    }
    // A single socket is no group yet (the kernel makes one when the second joins), and there is nothing to steer.
    if config.workers > 1 {
        reuseport::attach(&sockets[0], config.workers)?;
    }
    Ok(sockets)
}

/// What sockets of a family are bound to. `None`: the family is not used.
fn address_of(family: Family, config: &SocketConfig) -> Option<IpAddr> {
    match family {
        Family::V4 => config.bind.v4().map(IpAddr::from),
        Family::V6 => config.bind.v6().map(IpAddr::from),
    }
}

/// One more socket of a group that there is, bound to the port of its configuration.
fn open_member(family: Family, config: &SocketConfig) -> Result<OwnedFd, BindError> {
    let address = address_of(family, config).ok_or(BindError::NoWorkers)?;
    let socket = open(family, config)?;
    set(&socket, "SO_REUSEPORT", sockopt::ReusePort, &true)?;
    bind_to(&socket, SocketAddr::new(address, config.port))?;
    Ok(socket)
}

fn open(family: Family, config: &SocketConfig) -> Result<OwnedFd, BindError> {
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(domain, SockType::Datagram, flags, None).map_err(|errno| match errno {
        Errno::EMFILE | Errno::ENFILE => BindError::Descriptors { errno },
        errno => BindError::Socket { family, errno },
    })?;
    match family {
        Family::V4 => {
            set(&socket, "IP_PKTINFO", sockopt::Ipv4PacketInfo, &true)?;
            set(&socket, "IP_RECVTOS", sockopt::IpRecvTos, &true)?;
            ignore_path_mtu(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
        }
        Family::V6 => {
            set(&socket, "IPV6_V6ONLY", sockopt::Ipv6V6Only, &true)?;
            set(&socket, "IPV6_RECVPKTINFO", sockopt::Ipv6RecvPacketInfo, &true)?;
            set(&socket, "IPV6_RECVTCLASS", sockopt::Ipv6RecvTClass, &true)?;
            ignore_path_mtu(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)?;
        }
    }
    if let Bind::Device(device) = config.bind {
        setsockopt(&socket, sockopt::BindToDevice, &device.as_str().into())
            .map_err(|errno| BindError::Device { device, errno })?;
    }
    if config.fwmark != 0 {
        set(&socket, "SO_MARK", sockopt::Mark, &config.fwmark)?;
    }
    set_buffers(&socket, config)?;
    Ok(socket)
}

/// A size beyond the system's limits (`net.core.rmem_max`, `wmem_max`) takes `CAP_NET_ADMIN`; without it, the limit it
/// is.
fn set_buffers(socket: &OwnedFd, config: &SocketConfig) -> Result<(), BindError> {
    let SocketConfig { receive_buffer, send_buffer, .. } = *config;
    if receive_buffer != 0 && setsockopt(socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
        set(socket, "SO_RCVBUF", sockopt::RcvBuf, &receive_buffer)?;
    }
    if send_buffer != 0 && setsockopt(socket, sockopt::SndBufForce, &send_buffer).is_err() {
        set(socket, "SO_SNDBUF", sockopt::SndBuf, &send_buffer)?;
    }
    Ok(())
}

/// No "don't fragment" bit, and deaf to what ICMP says about the path: see the top of this file.
fn ignore_path_mtu(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), BindError> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is an int, which `value` is, and it outlives the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    Errno::result(result).map(drop).map_err(|errno| BindError::Option { option: "IP(V6)_MTU_DISCOVER", errno })
}

fn bind_to(socket: &OwnedFd, place: SocketAddr) -> Result<(), BindError> {
    let (fd, address, port) = (socket.as_raw_fd(), place.ip(), place.port());
    let (family, outcome) = match place {
        SocketAddr::V4(place) => (Family::V4, bind(fd, &SockaddrIn::from(place))),
        SocketAddr::V6(place) => (Family::V6, bind(fd, &SockaddrIn6::from(place))),
    };
    outcome.map_err(|errno| match errno {
        Errno::EADDRINUSE => BindError::PortInUse { port, family },
        errno if address.is_unspecified() => BindError::Bind { port, family, errno },
        errno => BindError::Address { address, errno },
    })
}

fn port_of(socket: &OwnedFd) -> Result<u16, BindError> {
    let name: SockaddrStorage =
        getsockname(socket.as_raw_fd()).map_err(|errno| BindError::Option { option: "getsockname", errno })?;
    let v4 = name.as_sockaddr_in().map(SockaddrIn::port);
    let v6 = name.as_sockaddr_in6().map(SockaddrIn6::port);
    v4.or(v6).ok_or(BindError::Option { option: "getsockname", errno: Errno::EAFNOSUPPORT })
}

/// Whether the system has no IPv6, by its absence (`ipv6.disable=1`, not built in) or by having no address for it.
fn is_family_missing(error: &BindError) -> bool {
    match *error {
        BindError::Socket { family: Family::V6, errno } => errno == Errno::EAFNOSUPPORT,
        BindError::Bind { family: Family::V6, errno, .. } => errno == Errno::EADDRNOTAVAIL,
        _ => false,
    }
}

fn enable_gro(socket: &OwnedFd) -> bool {
    setsockopt(socket, sockopt::UdpGroSegment, &true).is_ok()
}

fn probe_gso(socket: &OwnedFd) -> bool {
    getsockopt(socket, sockopt::UdpGsoSegment).is_ok()
}

fn set<O: SetSockOpt>(socket: &impl AsFd, option: &'static str, name: O, value: &O::Val) -> Result<(), BindError> {
    setsockopt(socket, name, value).map_err(|errno| BindError::Option { option, errno })
}
