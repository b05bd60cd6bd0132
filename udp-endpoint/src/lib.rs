//! Where datagrams go to, and where they leave from. The protocol learns it, the sockets use it, and neither knows the
//! other.

#![forbid(unsafe_code)]

mod bind;

pub use bind::{Bind, DeviceName, NotBindable};

use std::net::{IpAddr, SocketAddr};

/// A local address that a datagram came to, and the interface that it came in by.
///
/// Answers leave from this address (the "sticky source"). Otherwise a stateful middlebox, or the other side's own check
/// of the address that it talks to, would not let them through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddr {
    /// The local address.
    pub addr: IpAddr,
    /// Index of the interface that the datagram came in by; 0 if the kernel did not say.
    ///
    /// As in the kernel's WireGuard, it does not choose the way out: routing does. The exception is an IPv6 link-local
    /// address, which means nothing without its link.
    pub ifindex: u32,
}

/// The far end and the near end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The far end.
    pub remote: SocketAddr,
    /// The near end, once it is known; without it the kernel chooses by route.
    pub source: Option<LocalAddr>,
}

impl Endpoint {
    /// An endpoint of which the near end is not known, as an operator configures it.
    #[must_use]
    pub const fn new(remote: SocketAddr) -> Self {
        Self { remote, source: None }
    }

    /// The same remote address with the learned source forgotten.
    #[must_use]
    pub const fn without_source(self) -> Self {
        Self::new(self.remote)
    }

    /// Whether both are between the same two addresses. By which interface datagrams come in does not count: a peer
    /// that is heard by two of ours has not moved. A link-local address has its link in the remote address.
    #[must_use]
    pub fn has_addresses_of(&self, other: &Self) -> bool {
        let source = |endpoint: &Self| endpoint.source.map(|source| source.addr);
        self.remote == other.remote && source(self) == source(other)
    }

    /// The near end if it can be used: a source of the other family than the remote's is none.
    #[must_use]
    pub fn usable_source(&self) -> Option<LocalAddr> {
        self.source.filter(|source| source.addr.is_ipv4() == self.remote.is_ipv4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_of_the_other_family_is_none() {
        let source = Some(LocalAddr { addr: "192.0.2.1".parse().unwrap(), ifindex: 3 });
        let v4 = Endpoint { remote: "198.51.100.1:7".parse().unwrap(), source };
        let v6 = Endpoint { remote: "[2001:db8::1]:7".parse().unwrap(), source };
        assert_eq!((v4.usable_source(), v6.usable_source()), (source, None));
        assert_eq!(v4.without_source(), Endpoint::new(v4.remote));
    }
}
