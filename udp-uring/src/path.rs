//! The path a datagram takes: the far address, and the near address to answer from.

use std::net::{IpAddr, SocketAddr};

/// The near end of a path: the local address that a datagram came to, and the interface that it came in by.
///
/// Answers leave from this address (the "sticky source"), or a stateful middlebox, and the other side's own check of
/// the address it talks to, would not let them through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddr {
    /// The local address.
    pub addr: IpAddr,
    /// Index of the interface that the datagram came in by; 0 if the kernel did not say.
    ///
    /// As in the kernel's WireGuard, it does not choose the way out (routing does), but for an IPv6 link-local
    /// address, which means nothing without its link.
    pub ifindex: u32,
}

/// Where datagrams go to, and where they leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The far end.
    pub remote: SocketAddr,
    /// The near end, once it is known; without it the kernel chooses by route.
    pub source: Option<LocalAddr>,
}

impl Path {
    /// A path to `remote` of which the near end is not known yet.
    #[must_use]
    pub const fn to(remote: SocketAddr) -> Self {
        Self { remote, source: None }
    }

    /// The near end if it can be used: a source of the other family than the remote's is none.
    #[must_use]
    pub fn usable_source(&self) -> Option<LocalAddr> {
        self.source.filter(|s| s.addr.is_ipv4() == self.remote.is_ipv4())
    }
}
