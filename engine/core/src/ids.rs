//! Names that travel between control and the workers: which peer, and where it is on the network.

use std::net::{IpAddr, SocketAddr};

/// A peer's slot in the device, and which occupant of that slot is meant.
///
/// A slot is reused after its peer was removed; the generation keeps a late event about the old occupant from being
/// taken for one about the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    /// The slot.
    pub index: u32,
    /// How often the slot was given away before.
    pub generation: u32,
}

/// The worker, of `workers`, that owns a receiver index: its low byte names it.
///
/// The steering program of the sockets computes the same from the datagram.
///
/// # Panics
/// If there are no workers.
#[must_use]
pub const fn owner(local_index: u32, workers: usize) -> usize {
    (local_index & 0xff) as usize % workers
}

/// The local half of a path: the address that datagrams leave from and the interface they leave through.
///
/// Learned from `IP_PKTINFO` or `IPV6_PKTINFO` of a received datagram, so replies leave from the address that the
/// peer wrote to ("sticky sockets").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The local address.
    pub addr: IpAddr,
    /// The index of the network interface, 0 if not bound to one.
    pub ifindex: u32,
}

/// Where a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The peer's outer address and port.
    pub remote: SocketAddr,
    /// The local address to send from, if one was learned.
    pub source: Option<Source>,
}

impl Endpoint {
    /// An endpoint as an operator configures it: the kernel chooses the source address.
    pub const fn new(remote: SocketAddr) -> Self {
        Self { remote, source: None }
    }

    /// The same remote address with the learned source forgotten.
    #[must_use]
    pub const fn without_source(self) -> Self {
        Self::new(self.remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_byte_of_an_index_names_its_owner() {
        assert_eq!(owner(0xffff_ff00, 3), 0);
        assert_eq!(owner(0x0000_00ff, 2), 1);
        assert_eq!(owner(0x1234_5605, 4), 1);
    }
}
