//! Where scrapes come in: a unix socket that is always there, and TCP if somebody asks for it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::sockopt::{IpFreebind, ReuseAddr};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket};

use crate::control::error::DaemonError;
use crate::control::server::{self, SocketPlace};
use crate::metrics::places::PeerSeries;

/// Where the unix sockets are.
const DIRECTORY: &str = "/run/ringfort";

/// The unix socket of an interface.
#[must_use]
pub fn socket_path(interface: &str) -> PathBuf {
    Path::new(DIRECTORY).join(file_name(interface))
}

pub(super) fn file_name(interface: &str) -> String {
    format!("{interface}.metrics.sock")
}

/// What the operator chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// TCP addresses to serve on, besides the unix socket.
    pub addresses: Vec<SocketAddr>,
    /// Addresses that the interface will have, by what its file says. They need not be there yet.
    pub of_interface: Vec<IpAddr>,
    /// How many peers have series.
    pub peers: PeerSeries,
}

impl Default for Options {
    fn default() -> Self {
        Self { addresses: Vec::new(), of_interface: Vec::new(), peers: PeerSeries::DEFAULT }
    }
}

/// A TCP address that metrics cannot be served on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve metrics on {address} ({source}): choose an address of this machine, or one that the file gives to \
     the interface, and a free port (--metrics, or Metrics in the file)"
)]
pub struct MetricsError {
    address: SocketAddr,
    source: io::Error,
}

impl MetricsError {
    /// Whether another argument helps, and not another state of the system.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
    }
}

/// The listening sockets.
#[derive(Debug, Default)]
pub struct Listening {
    unix: Option<(UnixListener, SocketPlace)>,
    tcp: Vec<TcpListener>,
}

impl Listening {
    /// Listens on the addresses. They were asked for, so each must work. Those of the interface work once it has them,
    /// and again whenever it gets them back.
    ///
    /// # Errors
    /// [`MetricsError`] for the first that cannot be had.
    pub fn on(options: &Options) -> Result<Self, MetricsError> {
        let listen = |&address: &SocketAddr| {
            let listener = match TcpListener::bind(address) {
                Err(error) if is_absent(&error) && options.of_interface.contains(&address.ip()) => {
                    listen_ahead(address)
                }
                listener => listener,
            };
            let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            listener.map_err(|source| MetricsError { address, source })
        };
        Ok(Self { unix: None, tcp: options.addresses.iter().map(listen).collect::<Result<_, _>>()? })
    }

    /// What another process listens on, as far as it is still wanted, and whatever else is.
    ///
    /// # Errors
    /// [`MetricsError`] for the first that cannot be had.
    pub fn inherit(options: &Options, inherited: Vec<OwnedFd>) -> Result<Self, MetricsError> {
        let mut inherited: Vec<_> = inherited.into_iter().map(TcpListener::from).collect();
        let at = |address, listener: &TcpListener| listener.local_addr().is_ok_and(|local| local == address);
        let mut tcp = Vec::new();
        for &address in &options.addresses {
            match inherited.iter().position(|listener| at(address, listener)) {
                Some(position) => tcp.push(inherited.swap_remove(position)),
                None => tcp.append(&mut Self::on(&Options { addresses: vec![address], ..options.clone() })?.tcp),
            }
        }
        Ok(Self { unix: None, tcp })
    }

    /// Listens on the unix socket of `interface` that another process has made.
    ///
    /// # Errors
    /// The system's: it is not there any more.
    pub fn inherit_locally(&mut self, interface: &str, socket: OwnedFd) -> Result<(), DaemonError> {
        let place = SocketPlace::of(&socket_path(interface));
        let place = place.map_err(|error| DaemonError::system("take over the socket of metrics", error))?;
        self.unix = Some((socket.into(), place));
        Ok(())
    }

    /// Copies of the descriptors, for another process: that of the unix socket first.
    ///
    /// # Errors
    /// The system's.
    pub fn copies(&self) -> io::Result<(Option<OwnedFd>, Vec<OwnedFd>)> {
        let unix = self.unix.as_ref().map(|(listener, _)| listener.as_fd().try_clone_to_owned()).transpose()?;
        let tcp = self.tcp.iter().map(|listener| listener.as_fd().try_clone_to_owned()).collect::<io::Result<_>>()?;
        Ok((unix, tcp))
    }

    /// Listens on the unix socket of `interface` as well, which only the user of this process can use.
    ///
    /// # Errors
    /// The system's. The gateway can do without.
    pub fn listen_locally(&mut self, interface: &str, signals: &SignalFd) -> Result<(), DaemonError> {
        self.listen_in(Path::new(DIRECTORY), interface, signals)
    }

    pub(super) fn listen_in(
        &mut self,
        directory: &Path,
        interface: &str,
        signals: &SignalFd,
    ) -> Result<(), DaemonError> {
        self.unix = Some(server::make_socket(directory, &file_name(interface), interface, signals)?);
        Ok(())
    }

    /// Whether nobody can come.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        self.unix.is_none() && self.tcp.is_empty()
    }

    /// Where the unix socket is.
    #[must_use]
    pub fn place(&self) -> Option<&SocketPlace> {
        self.unix.as_ref().map(|(_, place)| place)
    }

    /// The addresses that were listened on, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok())
    }

    /// To poll.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.unix.iter().map(|(listener, _)| listener.as_fd()).chain(self.tcp.iter().map(AsFd::as_fd))
    }

    /// Whether somebody waits to be let in.
    pub(super) fn is_anybody_there(&self) -> bool {
        let mut fds: Vec<_> = self.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// The next one who waits; nobody is preferred for long, since there are few places and all are emptied.
    pub(super) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        if let Some((listener, _)) = &self.unix
            && let Some((stream, _)) = server::unless_blocked(listener.accept())?
        {
            stream.set_nonblocking(true)?;
            return Ok(Some(stream.into()));
        }
        for listener in &self.tcp {
            if let Some((stream, _)) = server::unless_blocked(listener.accept())? {
                stream.set_nonblocking(true)?;
                return Ok(Some(stream.into()));
            }
        }
        Ok(None)
    }
}

/// Whether the machine does not have the address.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Listens on an address that the machine does not have yet. No capability is needed for that.
fn listen_ahead(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // As the standard library does: connections of a process before us do not keep the port.
    setsockopt(&socket, ReuseAddr, &true)?;
    // The option of IPv4, which counts for both families.
    setsockopt(&socket, IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(128)?)?;
    Ok(socket.into())
}
