//! Where segmentation offload does not work at the moment, so it is not tried for every train.
//!
//! Whether the kernel cuts a train up depends on the way out, which it chooses anew for each send: by the remote, by
//! the source, and by rules that we do not see. Hence each refusal is noted for its path and for nothing else, also
//! where its cause is a device: other paths may leave by other devices, and will find out for themselves.
//!
//! | refusal | cause | noted for |
//! |---|---|---|
//! | `EMSGSIZE` | a segment is longer than the device's MTU | the path, from that length on |
//! | `EINVAL` | the same, on kernels before 6.14 (Linux commit 235174b2bed8) | the same |
//! | `EIO` | IPsec on the way; no checksum offload, on kernels before 6.11 | the path, any length |
//! | `ENOBUFS`, `ENOMEM` | no memory in one piece for a train | nothing: it passes |
//!
//! In each of these cases the same bytes go out again as single datagrams, which the kernel may fragment, so
//! nothing is lost. Other refusals are not about the form: a filter's verdict (`EPERM`), no route, no such source.
//!
//! A refusal counts only after the same bytes went out unsegmented, along the same path: else an endpoint that nothing
//! can be sent to would look like one that takes no trains. A note ends after [`TRAINS_BETWEEN_TRIES`] trains: then one
//! train is tried again, since devices and routes change. What that costs where nothing has changed is one refused call
//! beside hundreds of single datagrams; it is also what a path costs that finds no place among the notes.

use std::net::IpAddr;

use nix::errno::Errno;
use udp_endpoint::Endpoint;

/// Trains of a path that leave as single datagrams before one is tried whole.
pub(crate) const TRAINS_BETWEEN_TRIES: u16 = 64;
/// Paths that are remembered, for each socket; a power of two. More than these only cost retries.
const PLACES: usize = 256;

/// What a refused train says about segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Segments of this length or longer cannot leave this way.
    Length,
    /// No train can leave this way.
    Way,
    /// Not now; the next one may.
    Moment,
}

impl Blame {
    /// What a send error may say about segmentation; `None` if nothing.
    pub(crate) fn of(errno: Errno) -> Option<Self> {
        match errno {
            Errno::EMSGSIZE | Errno::EINVAL => Some(Self::Length),
            Errno::EIO => Some(Self::Way),
            Errno::ENOBUFS | Errno::ENOMEM => Some(Self::Moment),
            _ => None,
        }
    }
}

/// What is known of one socket. A fixed number of places, so no number of paths takes memory.
pub(crate) struct Gso {
    offered: bool,
    reported: bool,
    notes: Box<[Option<Note>]>,
}

/// Segmentation is left alone on one path.
#[derive(Clone, Copy, Debug)]
struct Note {
    way: Way,
    /// From this length of a segment on, in bytes.
    stride: usize,
    trains_left: u16,
}

/// What the kernel chooses the way out by, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    remote: IpAddr,
    source: Option<IpAddr>,
}

impl Gso {
    pub(crate) fn new(offered: bool) -> Self {
        Self { offered, reported: false, notes: vec![None; PLACES].into_boxed_slice() }
    }

    /// Whether a train of segments of `stride` bytes may be left to the kernel to cut.
    pub(crate) fn allows(&mut self, endpoint: &Endpoint, stride: usize) -> bool {
        if !self.offered {
            return false;
        }
        let way = Way::of(endpoint);
        let place = &mut self.notes[way.place()];
        let Some(note) = place.as_mut().filter(|n| n.way == way && stride >= n.stride) else {
            return true;
        };
        note.trains_left -= 1;
        if note.trains_left == 0 {
            *place = None;
        }
        false
    }

    /// Notes that a train was refused with `errno`, and went out unsegmented along the same path. True: the operator
    /// must be told, once per socket.
    pub(crate) fn refused(&mut self, errno: Errno, endpoint: &Endpoint, stride: usize) -> bool {
        let refused = match Blame::of(errno) {
            Some(Blame::Length) => stride,
            Some(Blame::Way) => 0,
            Some(Blame::Moment) | None => return false,
        };
        let way = Way::of(endpoint);
        let place = &mut self.notes[way.place()];
        let known = place.filter(|n| n.way == way).map_or(usize::MAX, |n| n.stride);
        *place = Some(Note { way, stride: refused.min(known), trains_left: TRAINS_BETWEEN_TRIES });
        !std::mem::replace(&mut self.reported, true)
    }
}

impl std::fmt::Debug for Gso {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let notes = self.notes.iter().flatten().count();
        f.debug_struct("Gso").field("offered", &self.offered).field("notes", &notes).finish_non_exhaustive()
    }
}

impl Way {
    fn of(endpoint: &Endpoint) -> Self {
        Self { remote: endpoint.remote.ip(), source: endpoint.usable_source().map(|s| s.addr) }
    }

    fn place(self) -> usize {
        let source = self.source.map_or(0, |addr| fold(0, addr));
        fold(source, self.remote) as usize % PLACES
    }
}

fn fold(seed: u32, addr: IpAddr) -> u32 {
    let step = |h: u32, b: &u8| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193);
    let folded = match addr {
        IpAddr::V4(a) => a.octets().iter().fold(seed, step),
        IpAddr::V6(a) => a.octets().iter().fold(seed, step),
    };
    folded ^ folded >> 16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use udp_endpoint::LocalAddr;

    use super::*;

    fn to(n: u8) -> Endpoint {
        Endpoint::new(format!("192.0.2.{n}:51820").parse().expect("literal"))
    }

    fn from(endpoint: Endpoint, addr: &str) -> Endpoint {
        Endpoint { source: Some(LocalAddr { addr: addr.parse().expect("literal"), ifindex: 0 }), ..endpoint }
    }

    /// Every refusal that there is.
    fn errnos() -> impl Strategy<Value = Errno> {
        (1..134).prop_map(Errno::from_raw)
    }

    #[test]
    fn a_way_that_takes_no_train_is_left_alone_for_a_while() {
        let mut gso = Gso::new(true);
        assert!(gso.allows(&to(1), 1452));
        assert!(gso.refused(Errno::EIO, &to(1), 1452), "the operator is told");
        assert!(!gso.allows(&to(1), 10), "whatever the length");
        let refusals = 1 + (0..10_000).take_while(|_| !gso.allows(&to(1), 1452)).count();
        assert_eq!(refusals, usize::from(TRAINS_BETWEEN_TRIES));
        assert!(!gso.refused(Errno::EIO, &to(1), 1452), "once");
    }

    #[test]
    fn a_narrow_way_is_narrow_from_the_refused_length_on() {
        // What kernels say since 6.14, and before.
        for errno in [Errno::EMSGSIZE, Errno::EINVAL] {
            let mut gso = Gso::new(true);
            assert!(gso.refused(errno, &to(1), 1452));
            assert!(!gso.allows(&to(1), 1452) && !gso.allows(&to(1), 1500));
            assert!(gso.allows(&to(1), 1200), "shorter segments were not refused");
            assert!(!gso.refused(errno, &to(1), 1200), "reported once");
            assert!(!gso.allows(&to(1), 1200) && gso.allows(&to(1), 1199));
        }
    }

    #[test]
    fn memory_that_is_short_for_a_moment_leaves_no_note() {
        let mut gso = Gso::new(true);
        for errno in [Errno::ENOBUFS, Errno::ENOMEM] {
            assert!(!gso.refused(errno, &to(1), 1452));
            assert!(gso.allows(&to(1), 1452));
        }
    }

    #[test]
    fn one_remote_from_two_sources_is_two_ways() {
        let mut gso = Gso::new(true);
        gso.refused(Errno::EIO, &from(to(1), "198.51.100.1"), 1452);
        assert!(!gso.allows(&from(to(1), "198.51.100.1"), 1452));
        assert!(gso.allows(&from(to(1), "198.51.100.2"), 1452) && gso.allows(&to(1), 1452));
    }

    #[test]
    fn what_is_not_offered_is_not_used() {
        assert!(!Gso::new(false).allows(&to(1), 100));
    }

    #[test]
    fn more_ways_than_places_cost_no_memory_and_no_other_way() {
        let mut gso = Gso::new(true);
        for n in 0..10_000u32 {
            let remote = std::net::Ipv4Addr::from(0x0a00_0000 + n);
            gso.refused(Errno::EIO, &Endpoint::new((remote, 51820).into()), 1452);
        }
        assert_eq!(gso.notes.len(), PLACES);
        assert!((1..=254).all(|n| gso.allows(&to(n), 1452)), "nobody was refused there");
    }

    proptest! {
        /// Whatever the kernel says about one path: another one is as before.
        #[test]
        fn a_refusal_costs_no_other_path(errno in errnos(), refused: u8, other: u8, stride in 1..9000usize) {
            prop_assume!(refused != other);
            let mut gso = Gso::new(true);
            gso.refused(errno, &to(refused), stride);
            prop_assert!(gso.allows(&to(other), stride));
        }

        /// And no refusal is for ever.
        #[test]
        fn every_quarantine_ends(errno in errnos(), strides in prop::collection::vec(1..9000usize, 1..20)) {
            let mut gso = Gso::new(true);
            strides.iter().for_each(|&stride| { gso.refused(errno, &to(1), stride); });
            prop_assert!((0..=TRAINS_BETWEEN_TRIES).any(|_| gso.allows(&to(1), 9000)));
        }
    }
}
