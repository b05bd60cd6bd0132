//! Why sockets could not be had, in one sentence with the remedy.

use std::net::IpAddr;

use nix::errno::Errno;
use udp_endpoint::DeviceName;

/// An address family, as it is named to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A failure to open the sockets of a port. Nothing of the attempt is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Another socket has the port.
    #[error("UDP port {port} is in use ({family}): choose another listen port, or stop the program that has it")]
    PortInUse {
        /// The port asked for.
        port: u16,
        /// The family in which it is taken.
        family: Family,
    },
    /// No port that is free in both families turned up.
    #[error("no UDP port is free for both IPv4 and IPv6: widen net.ipv4.ip_local_port_range, or choose a listen port")]
    NoFreePort,
    /// The process or the system has no file descriptor left.
    #[error("no file descriptor is left for a UDP socket ({errno}): raise the limit on open files (ulimit -n)")]
    Descriptors {
        /// `EMFILE` or `ENFILE`.
        errno: Errno,
    },
    /// `socket(2)` failed otherwise.
    #[error("cannot make an {family} UDP socket: {errno}")]
    Socket {
        /// Which family.
        family: Family,
        /// The system's error.
        errno: Errno,
    },
    /// `bind(2)` failed otherwise.
    #[error("cannot bind UDP port {port} ({family}): {errno}")]
    Bind {
        /// The port asked for.
        port: u16,
        /// Which family.
        family: Family,
        /// The system's error.
        errno: Errno,
    },
    /// The address to bind to is not one of this machine, or not any more.
    #[error("cannot bind to {address}: {errno}: choose an address that this machine has (ip address)")]
    Address {
        /// The address asked for.
        address: IpAddr,
        /// The system's error.
        errno: Errno,
    },
    /// The device to bind to is not there, or not any more.
    #[error("cannot bind to the device {device}: {errno}: choose one that is there (ip link)")]
    Device {
        /// The device asked for.
        device: DeviceName,
        /// The system's error.
        errno: Errno,
    },
    /// A socket option that there is no going on without was refused.
    #[error("cannot set socket option {option}: {errno}")]
    Option {
        /// Its name in the manual pages.
        option: &'static str,
        /// The system's error.
        errno: Errno,
    },
    /// A group without a worker was asked for.
    #[error("a socket group needs at least one worker")]
    NoWorkers,
}

impl BindError {
    /// The error number that describes it best, for the configuration protocol.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match *self {
            Self::PortInUse { .. } | Self::NoFreePort => Errno::EADDRINUSE,
            Self::Descriptors { errno }
            | Self::Socket { errno, .. }
            | Self::Bind { errno, .. }
            | Self::Address { errno, .. }
            | Self::Device { errno, .. }
            | Self::Option { errno, .. } => errno,
            Self::NoWorkers => Errno::EINVAL,
        }
    }
}
