//! Where segmentation offload does not work, so that it is not tried for every train.
//!
//! Two kinds of refusal are told apart, because they reach differently far:
//!
//! * The socket's way out cannot segment at all: `EIO` (IPsec transforms, no checksum offload), `EINVAL` (a device or
//!   filter that the kernel will not let it through). It is off for the socket.
//! * The path to one remote is narrower than a segment: `EMSGSIZE`. The kernel fragments a lone datagram, but not the
//!   segments of a train. It is off for that remote from that length on, and tried again after a while, since paths
//!   widen too.
//!
//! A refusal counts only after the same bytes went out unsegmented: else an endpoint that nothing can be sent to would
//! switch it off for everybody.

use nix::errno::Errno;
use std::net::IpAddr;

/// Trains that go unsegmented before a narrow path is tried again.
const NARROW_TRAINS: u16 = 2_048;
/// Remotes with a narrow path that are remembered; a power of two. More than these only cost retries.
const NARROW_PLACES: usize = 64;

/// Whether a send error may come from segmentation.
pub(crate) fn may_blame_segmentation(errno: Errno) -> bool {
    matches!(errno, Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE)
}

/// How far a refusal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoScope {
    /// Everything that the socket sends.
    Socket,
    /// What is sent to one address. Others may be affected alike and are not reported.
    Remote(IpAddr),
}

/// What is known of one socket.
pub(crate) struct Gso {
    works: bool,
    reported_narrow: bool,
    narrow: Box<[Option<Narrow>; NARROW_PLACES]>,
}

#[derive(Clone, Copy, Debug)]
struct Narrow {
    remote: IpAddr,
    /// Segments of this length were refused.
    refused_stride: usize,
    trains_left: u16,
}

impl Gso {
    pub(crate) fn new(offered: bool) -> Self {
        Self { works: offered, reported_narrow: false, narrow: Box::new([None; NARROW_PLACES]) }
    }

    /// Whether a train of segments of `stride` bytes may be left to the kernel to cut.
    pub(crate) fn allows(&mut self, remote: IpAddr, stride: usize) -> bool {
        if !self.works {
            return false;
        }
        let place = &mut self.narrow[place_of(remote)];
        let Some(narrow) = place.as_mut().filter(|n| n.remote == remote && stride >= n.refused_stride) else {
            return true;
        };
        narrow.trains_left -= 1;
        if narrow.trains_left == 0 {
            *place = None;
        }
        false
    }

    /// Notes that a train was refused with `errno`, and went out unsegmented. Returns what the operator is to be told,
    /// once per socket and scope.
    pub(crate) fn refused(&mut self, errno: Errno, remote: IpAddr, stride: usize) -> Option<GsoScope> {
        if errno != Errno::EMSGSIZE {
            return std::mem::take(&mut self.works).then_some(GsoScope::Socket);
        }
        let place = &mut self.narrow[place_of(remote)];
        let known = place.filter(|n| n.remote == remote).map_or(usize::MAX, |n| n.refused_stride);
        *place = Some(Narrow { remote, refused_stride: stride.min(known), trains_left: NARROW_TRAINS });
        let first = !std::mem::replace(&mut self.reported_narrow, true);
        first.then_some(GsoScope::Remote(remote))
    }
}

impl std::fmt::Debug for Gso {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let narrow = self.narrow.iter().flatten().count();
        f.debug_struct("Gso").field("works", &self.works).field("narrow", &narrow).finish_non_exhaustive()
    }
}

fn place_of(remote: IpAddr) -> usize {
    let folded = match remote {
        IpAddr::V4(a) => a.octets().iter().fold(0, |h: u8, b| h.wrapping_mul(31).wrapping_add(*b)),
        IpAddr::V6(a) => a.octets().iter().fold(0, |h: u8, b| h.wrapping_mul(31).wrapping_add(*b)),
    };
    usize::from(folded) % NARROW_PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_socket_that_cannot_is_told_once_and_left_alone() {
        let mut gso = Gso::new(true);
        assert!(gso.allows(A, 1452));
        assert_eq!(gso.refused(Errno::EIO, A, 1452), Some(GsoScope::Socket));
        assert_eq!(gso.refused(Errno::EIO, B, 1452), None);
        assert!(!gso.allows(A, 10) && !gso.allows(B, 10));
    }

    #[test]
    fn a_narrow_path_is_narrow_for_its_remote_only_and_not_forever() {
        let mut gso = Gso::new(true);
        assert_eq!(gso.refused(Errno::EMSGSIZE, A, 1452), Some(GsoScope::Remote(A)));
        assert!(!gso.allows(A, 1452));
        assert!(gso.allows(A, 1200), "shorter segments were not refused");
        assert!(gso.allows(B, 1452));
        assert_eq!(gso.refused(Errno::EMSGSIZE, A, 1200), None, "reported once");
        let refusals = (0..10_000).take_while(|_| !gso.allows(A, 1200)).count();
        assert_eq!(refusals, usize::from(NARROW_TRAINS));
    }

    #[test]
    fn what_is_not_offered_is_not_used() {
        assert!(!Gso::new(false).allows(A, 100));
    }
}
