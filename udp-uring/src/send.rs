//! Sending: what is said about a train, and what follows from its failure.

use nix::errno::Errno;
use ring_buffers::{CONTROL_LEN_MAX, Envelope, NAME_LEN_MAX, View};
use udp_endpoint::Endpoint;

use crate::cmsg::{SEND_CONTROL_LEN, write_control};
use crate::gso::Blame;
use crate::handshake::may_blame_source;
use crate::sockaddr::{SOCKADDR_LEN_MAX, write_sockaddr};

/// Segments that one call may carry: `UDP_MAX_SEGMENTS` of kernels before 6.9, twice that since.
pub const SEGMENTS_MAX: usize = 64;

/// Bytes that one call may carry: the largest UDP payload over IPv4 (65,535 − 20 − 8).
pub const TRAIN_BYTES_MAX: usize = 65_507;

/// A train to send: datagrams of `stride` bytes side by side, the last may be shorter.
#[derive(Debug)]
pub struct Transmit {
    /// The payload of all of them.
    pub view: View,
    /// Bytes of each datagram but the last.
    pub stride: usize,
    /// Where to, and where from.
    pub endpoint: Endpoint,
    /// ECN bits for the outer header; DSCP bits above them are sent as well.
    pub ecn: u8,
    /// Comes back with the outcome; means nothing here.
    pub context: u64,
}

/// Why a train was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainRefusal {
    /// All operations are in flight: the way out is slower than what comes in.
    Full,
    /// There is no socket of the remote's family: IPv6 is disabled, or what is bound is an address of the other one.
    NoSocket,
    /// The edge has no sockets at all.
    Closed,
    /// The ring takes no entry.
    Ring(Errno),
}

impl TrainRefusal {
    /// The error that the system would give for it.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Full => Errno::ENOBUFS,
            Self::NoSocket => Errno::EAFNOSUPPORT,
            Self::Closed => Errno::ENETDOWN,
            Self::Ring(errno) => errno,
        }
    }
}

/// A train that was not taken, or not to its end.
#[derive(Debug)]
pub struct TrainRefused {
    /// What was to leave first of that: all of it, unless the train had to be cut up.
    pub view: View,
    /// What was behind it.
    pub rest: Option<View>,
    /// Number of datagrams that will not leave, counted from the train's end. What becomes of those before them, if
    /// there are any, is told by events.
    pub segments: usize,
    /// Why.
    pub why: TrainRefusal,
}

/// A train that left, or the part of it that one operation carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// As given.
    pub context: u64,
    /// Number of datagrams.
    pub segments: usize,
    /// Bytes of payload.
    pub bytes: usize,
    /// The endpoint that was asked for, if its source was refused and the train left without: forget that source.
    pub refused: Option<Endpoint>,
    /// Number of datagrams of the same train that are lost. Some waited for this operation to end, and the ring takes
    /// no entry: [`UdpEdge::take_left_behind`](crate::UdpEdge::take_left_behind) has these. Others were given to the
    /// kernel, which did not take them: nobody has those.
    pub lost: usize,
}

/// A train that did not leave, or a part of it.
#[derive(Debug)]
pub struct SendFailed {
    /// As given.
    pub context: u64,
    /// Number of datagrams that are lost. Those that waited for `view` are among them, if they cannot follow;
    /// [`UdpEdge::take_left_behind`](crate::UdpEdge::take_left_behind) has them.
    pub segments: usize,
    /// The system's error.
    pub errno: Errno,
    /// What was given to the system at once.
    pub view: View,
    /// What was behind it when it was given.
    pub rest: Option<View>,
    /// Bytes of each datagram in it but the last.
    pub stride: usize,
    /// As given.
    pub endpoint: Endpoint,
    /// As given.
    pub ecn: u8,
}

/// What all parts of a train have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) stride: usize,
    pub(crate) endpoint: Endpoint,
    pub(crate) traffic_class: u8,
    pub(crate) context: u64,
    /// The endpoint with its source, which was taken off after a refusal.
    pub(crate) refused: Option<Endpoint>,
    /// Segmentation was given up after this refusal.
    pub(crate) gso_refused: Option<Errno>,
}

impl Order {
    /// The order, and the bytes that it is for. A stride that makes no sense means a lone datagram.
    pub(crate) fn of(transmit: Transmit) -> (Self, View) {
        let Transmit { view, stride, endpoint, ecn, context } = transmit;
        let stride = if stride == 0 { view.len() } else { stride.min(view.len()) };
        let order = Self { stride, endpoint, traffic_class: ecn, context, refused: None, gso_refused: None };
        (order, view)
    }

    /// Addresses a message of `bytes` bytes.
    pub(crate) fn address(&self, bytes: usize, envelope: &mut Envelope<'_>) {
        const { assert!(SOCKADDR_LEN_MAX <= NAME_LEN_MAX && SEND_CONTROL_LEN <= CONTROL_LEN_MAX, "there is room") };
        let segment = (bytes > self.stride).then(|| {
            u16::try_from(self.stride).expect("several segments are at most 65,507 bytes, see `fits_one_call`")
        });
        let name = envelope.name.first_chunk_mut().expect("checked when this was compiled");
        envelope.name_len = write_sockaddr(&self.endpoint.remote, name);
        let control = envelope.control.first_chunk_mut().expect("checked when this was compiled");
        envelope.control_len = write_control(control, &self.endpoint, self.traffic_class, segment);
    }

    /// What did not leave of the train, and `segments` with all that waited for it.
    pub(crate) fn failed(&self, view: View, rest: Option<View>, segments: usize, errno: Errno) -> SendFailed {
        let Self { stride, endpoint, traffic_class: ecn, context, refused, .. } = *self;
        SendFailed { context, segments, errno, view, rest, stride, endpoint: refused.unwrap_or(endpoint), ecn }
    }

    pub(crate) fn segments(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.stride.max(1)).max(1)
    }

    /// Whether a train of `bytes` keeps the kernel's limits for segmentation.
    pub(crate) fn fits_one_call(&self, bytes: usize) -> bool {
        self.segments(bytes) <= SEGMENTS_MAX && bytes <= TRAIN_BYTES_MAX
    }
}

/// What the edge knows about a send in flight. The bytes are with the ring.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) order: Order,
    /// Of the sockets that it was launched on.
    pub(crate) generation: u32,
    /// Segments that wait for this operation to end, because there was no other left for them.
    pub(crate) rest: Option<View>,
}

/// What is left to try after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same without the endpoint's source.
    WithoutSource,
    /// The same cut into single datagrams.
    Unsegmented,
    /// Nothing.
    GiveUp,
}

/// Each retry takes away what may have caused the refusal, so there are at most two per train.
///
/// `EINVAL` may mean either. Segmentation is then taken away first: nobody outside sees that, while another source is
/// another address to the peer and to every middlebox.
pub(crate) fn after_failure(errno: Errno, order: &Order, segments: usize) -> Next {
    if segments > 1 && Blame::of(errno).is_some() {
        Next::Unsegmented
    } else if order.endpoint.usable_source().is_some() && may_blame_source(errno) {
        Next::WithoutSource
    } else {
        Next::GiveUp
    }
}

#[cfg(test)]
mod tests {
    use udp_endpoint::LocalAddr;

    use super::*;

    fn order(source: Option<&str>) -> Order {
        let addr = |text: &str| LocalAddr { addr: text.parse().expect("literal"), ifindex: 0 };
        let remote = "192.0.2.1:51820".parse().expect("literal");
        let endpoint = Endpoint { source: source.map(addr), ..Endpoint::new(remote) };
        Order { stride: 1452, endpoint, traffic_class: 0, context: 0, refused: None, gso_refused: None }
    }

    #[test]
    fn each_refusal_takes_away_what_may_have_caused_it() {
        use Next::{GiveUp, Unsegmented, WithoutSource};
        // Of a train from a source, of a lone datagram from a source, of a lone datagram without.
        for (errno, train, lone, bare) in [
            (Errno::EMSGSIZE, Unsegmented, GiveUp, GiveUp),
            (Errno::EINVAL, Unsegmented, WithoutSource, GiveUp),
            (Errno::EIO, Unsegmented, GiveUp, GiveUp),
            (Errno::ENOBUFS, Unsegmented, GiveUp, GiveUp),
            (Errno::ENOMEM, Unsegmented, GiveUp, GiveUp),
            (Errno::EPERM, GiveUp, GiveUp, GiveUp),
            (Errno::ENETUNREACH, WithoutSource, WithoutSource, GiveUp),
            (Errno::EADDRNOTAVAIL, WithoutSource, WithoutSource, GiveUp),
        ] {
            assert_eq!(after_failure(errno, &order(Some("198.51.100.1")), 10), train, "{errno}");
            assert_eq!(after_failure(errno, &order(Some("198.51.100.1")), 1), lone, "{errno}");
            assert_eq!(after_failure(errno, &order(None), 1), bare, "{errno}");
        }
    }
}
