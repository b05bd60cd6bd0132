//! The edge of one worker: its two sockets, the receives and sends that are in flight on them.

#![forbid(unsafe_code)]

mod outbound;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use nix::errno::Errno;
use ring_buffers::{BufferGroup, Completion, Filled, OpId, PushError, Ring, RingError, Slab, Tag};
use udp_endpoint::Endpoint;

use crate::error::Family;
use crate::gso::Gso;
use crate::receive::{CONTROL_LEN, NAME_LEN, ReceiveDrop, Received};
use crate::segmentation::Segmentation;
use crate::send::{Order, Pending, SendFailed, Sent};
use crate::socket::SocketPair;

/// The numbers by which the edge is known to its ring.
#[derive(Clone, Copy, Debug)]
pub struct EdgeConfig {
    /// [`Tag::edge`] of everything that it submits.
    pub edge: u8,
    /// Place of the IPv4 socket in the ring's table of files, which has been registered with room for it.
    pub place_v4: u32,
    /// Place of the IPv6 socket.
    pub place_v6: u32,
    /// Sends that can be in flight at once. A train that has to leave unsegmented takes one per datagram.
    pub operations: u16,
    /// Which trains are left to the kernel to cut up. All others leave datagram by datagram.
    pub segmentation: Segmentation,
}

/// What a completion turned out to be.
#[derive(Debug)]
pub enum UdpEvent {
    /// A train came.
    Received(Received),
    /// Something came that cannot be used.
    Dropped(ReceiveDrop),
    /// Datagrams came to a socket that the edge has let go of since: they are dropped.
    Late {
        /// How many.
        datagrams: usize,
    },
    /// A train left.
    Sent(Sent),
    /// A train did not leave.
    SendFailed(SendFailed),
    /// Receiving ended for good with an error that does not pass.
    ReceiveFailed {
        /// Which socket.
        family: Family,
        /// The system's error.
        errno: Errno,
    },
    /// A retry is under way, an operation was cancelled, a receive will be renewed.
    Nothing,
}

/// The operator must be told that the kernel refused a train, and that its datagrams left one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GsoNotice {
    /// Which socket.
    pub family: Family,
    /// How the kernel refused.
    pub errno: Errno,
    /// Whom the train was for. The kernel may refuse those for others as well, which is not reported.
    pub remote: IpAddr,
}

/// What happened on the edge; plain integers of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounters {
    /// Receives that ended and were renewed.
    pub receives_renewed: u64,
    /// Of these, because buffers ran out (`ENOBUFS`).
    pub receives_starved: u64,
    /// Of these, with another error that passes.
    pub receive_errors: u64,
    /// Trains that were sent again without their source.
    pub retries_without_source: u64,
    /// Trains that the kernel refused, and that were sent again as single datagrams.
    pub retries_unsegmented: u64,
    /// Trains that were sent as single datagrams from the start: no one call can carry them, [`Segmentation`] does not
    /// allow it, or their path is known not to take trains.
    pub trains_split: u64,
    /// Completions of operations that were no longer waited for.
    pub late_completions: u64,
}

/// One socket of the edge.
#[derive(Debug)]
struct Port {
    family: Family,
    place: u32,
    /// There is a socket at that place.
    open: bool,
    /// The receive that is in flight.
    armed: Option<OpId>,
    /// That receive was cancelled, and will end.
    stops: bool,
    /// Receiving failed for good.
    failed: bool,
    gso: Gso,
    notice: Option<GsoNotice>,
}

impl Port {
    /// The kernel refused a train, and took its datagrams one by one.
    pub(crate) fn blame_segmentation(&mut self, errno: Errno, order: &Order) {
        if self.gso.refused(errno, &order.endpoint, order.stride) {
            self.notice = Some(GsoNotice { family: self.family, errno, remote: order.endpoint.remote.ip() });
        }
    }
}

/// The UDP edge of a worker. It allocates: buffers come out of its [`BufferGroup`], and go back by being dropped.
pub struct UdpEdge {
    edge: u8,
    ports: [Port; 2],
    /// Counts the pairs of sockets that the edge has had.
    generation: u32,
    /// Receives of former sockets that have not ended yet.
    former_receives: u32,
    /// Sends on former sockets that have not ended yet.
    former_sends: usize,
    group: BufferGroup,
    sends: Slab<Pending>,
    left_behind: Option<SendFailed>,
    segmentation: Segmentation,
    /// Nothing is received for now, and what the kernel has is left to it.
    rests: bool,
    /// Whose receive is renewed first: who was last. In a flood the first gets all buffers, and the other none.
    first: usize,
    counters: EdgeCounters,
}

impl UdpEdge {
    /// An edge without sockets; [`UdpEdge::rebind`] gives it some. `group` is to show the kernel
    /// [`crate::RECEIVE_BUFFER_LEN`] bytes of each jumbo slot.
    #[must_use]
    pub fn new(group: BufferGroup, config: EdgeConfig) -> Self {
        let port = |family, place| Port {
            family,
            place,
            open: false,
            armed: None,
            stops: false,
            failed: false,
            gso: Gso::new(false),
            notice: None,
        };
        Self {
            edge: config.edge,
            ports: [port(Family::V4, config.place_v4), port(Family::V6, config.place_v6)],
            generation: 0,
            former_receives: 0,
            former_sends: 0,
            group,
            sends: Slab::new(config.operations),
            left_behind: None,
            segmentation: config.segmentation,
            rests: false,
            first: 0,
            counters: EdgeCounters::default(),
        }
    }

    /// Takes over other sockets, and lets go of those that it had: what they still receive is discarded, and sends that
    /// were submitted end on them.
    ///
    /// # Errors
    /// [`RingError::Push`]: the ring takes no cancellation, and nothing has changed. If that [passes], try again.
    /// [`RingError::Setup`]: the edge is closed then, or whoever owns it [closes](UdpEdge::close) it again.
    ///
    /// [passes]: RingError::passes
    pub fn rebind(&mut self, ring: &mut Ring, sockets: &SocketPair) -> Result<(), RingError> {
        self.close(ring)?;
        for (i, socket) in [sockets.v4(), sockets.v6()].into_iter().enumerate() {
            let Some(socket) = socket else { continue };
            if let Err(e) = ring.update_file(self.ports[i].place, Some(socket.as_fd())) {
                // One family alone would be served as if that were intended.
                self.close(ring)?;
                return Err(e);
            }
            self.ports[i].open = true;
            self.ports[i].gso = Gso::new(sockets.offloads().gso);
        }
        Ok(())
    }

    /// Lets go of the sockets. Trains that were taken but not submitted yet fail with `EBADF`. The port is free when
    /// [`UdpEdge::is_releasing`] is false, nobody else has descriptors, and, before Linux 6.13, all other operations on
    /// files of the ring have ended that are in flight now: long ones have to be begun anew.
    ///
    /// # Errors
    /// As [`UdpEdge::rebind`]. After [`RingError::Setup`], try again, or end the ring.
    pub fn close(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        // Before anything changes: if the ring takes no cancellation now, all can be tried again.
        for receive in self.ports.iter().filter_map(|port| port.armed) {
            ring.cancel(receive)?;
        }
        self.generation = self.generation.wrapping_add(1);
        self.former_sends = self.sends.len();
        for port in &mut self.ports {
            self.former_receives += u32::from(port.armed.take().is_some());
            port.failed = false;
            port.notice = None;
        }
        for port in self.ports.iter_mut().filter(|port| port.open) {
            // Whatever comes of it, nothing is received there any more.
            port.failed = true;
            ring.update_file(port.place, None)?;
            (port.open, port.failed) = (false, false);
        }
        Ok(())
    }

    /// Whether operations on former sockets are still in flight.
    #[must_use]
    pub fn is_releasing(&self) -> bool {
        self.former_receives > 0 || self.former_sends > 0
    }

    /// Gives the kernel buffers, and renews the receives that have ended. Called once a turn, before the ring's.
    ///
    /// # Errors
    /// [`PushError`] if the ring takes no entry.
    pub fn prepare(&mut self, ring: &mut Ring) -> Result<(), PushError> {
        if self.rests {
            return self.stop_receiving(ring);
        }
        self.group.refill();
        if self.group.in_kernel() == 0 {
            return Ok(());
        }
        for index in [self.first, 1 - self.first] {
            let port = &mut self.ports[index];
            if port.open && port.armed.is_none() && !port.failed {
                let context = receive_context(index as u32, self.generation);
                let tag = Tag { edge: self.edge, context };
                port.armed = Some(ring.receive_messages(port.place, &self.group, (NAME_LEN, CONTROL_LEN), tag)?);
                self.first = index;
            }
        }
        Ok(())
    }

    /// Receives nothing from now on, until [`UdpEdge::go_on`]: datagrams stay in the sockets. What was received before
    /// comes as completions until [`UdpEdge::is_idle`]. Sending goes on.
    pub fn rest(&mut self) {
        self.rests = true;
    }

    /// Receives again. To be called when the edge is [idle](UdpEdge::is_idle).
    pub fn go_on(&mut self) {
        self.rests = false;
        self.ports.iter_mut().for_each(|port| port.stops = false);
    }

    /// Whether nothing of this edge is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let receives = self.ports.iter().any(|port| port.armed.is_some());
        !receives && !self.is_releasing() && self.sends.is_empty()
    }

    fn stop_receiving(&mut self, ring: &mut Ring) -> Result<(), PushError> {
        for port in &mut self.ports {
            if let Some(receive) = port.armed.filter(|_| !port.stops) {
                ring.cancel(receive)?;
                port.stops = true;
            }
        }
        Ok(())
    }

    /// Whether the kernel has no buffer to receive into: some must come home before anything does.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.group.in_kernel() == 0
    }

    /// Sends that are in flight.
    #[must_use]
    pub fn sends_in_flight(&self) -> usize {
        self.sends.len()
    }

    /// Sends that can still be given to the kernel before some complete.
    #[must_use]
    pub fn sends_free(&self) -> usize {
        self.sends.capacity() - self.sends.len()
    }

    /// Says what a completion of this edge means. One of another edge, which is a mistake, is dropped and counted.
    ///
    /// Nobody can ask twice, so no datagram changes while somebody looks at it:
    ///
    /// ```compile_fail,E0382
    /// # use ring_buffers::{Completion, Ring};
    /// # use udp_uring::UdpEdge;
    /// fn twice(edge: &mut UdpEdge, ring: &mut Ring, completion: Completion) {
    ///     edge.complete(ring, completion);
    ///     edge.complete(ring, completion);
    /// }
    /// ```
    #[inline]
    pub fn complete(&mut self, ring: &mut Ring, completion: Completion) -> UdpEvent {
        match completion {
            Completion::Received(filled) if filled.tag().edge == self.edge => self.complete_receive(filled),
            Completion::Sent(sent) if sent.tag().edge == self.edge => self.complete_send(ring, sent),
            _ => self.late(),
        }
    }

    /// What the operator must be told; each thing once.
    pub fn take_notice(&mut self) -> Option<GsoNotice> {
        self.ports.iter_mut().find_map(|port| port.notice.take())
    }

    /// What the last outcome counts as lost and did not bring along: datagrams that waited for that operation to end.
    pub fn take_left_behind(&mut self) -> Option<SendFailed> {
        self.left_behind.take()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> EdgeCounters {
        self.counters
    }

    #[cold]
    fn late(&mut self) -> UdpEvent {
        self.counters.late_completions += 1;
        UdpEvent::Nothing
    }

    fn complete_receive(&mut self, filled: Filled) -> UdpEvent {
        let goes_on = filled.goes_on();
        let (index, generation) = receive_of(filled.tag().context);
        if generation != self.generation {
            self.counters.late_completions += 1;
            self.former_receives = self.former_receives.saturating_sub(u32::from(!goes_on));
            return match filled.into_view() {
                Ok(Some(view)) => UdpEvent::Late { datagrams: Received::parse(view).map_or(1, |r| r.datagrams()) },
                _ => UdpEvent::Nothing,
            };
        }
        if !goes_on {
            self.ports[index].armed = None;
            self.ports[index].stops = false;
            self.counters.receives_renewed += 1;
        }
        match filled.into_view() {
            Ok(Some(view)) => Received::parse(view).map_or_else(UdpEvent::Dropped, UdpEvent::Received),
            Ok(None) => UdpEvent::Dropped(ReceiveDrop::Malformed),
            Err(errno) => self.receive_ended(index, Errno::from_raw(errno)),
        }
    }

    fn receive_ended(&mut self, port: usize, errno: Errno) -> UdpEvent {
        let port = &mut self.ports[port];
        match errno {
            Errno::ENOBUFS => self.counters.receives_starved += 1,
            Errno::EBADF | Errno::ENOTSOCK | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EFAULT => {
                port.failed = true;
                return UdpEvent::ReceiveFailed { family: port.family, errno };
            }
            // An error of some datagram sent before, the system's distress of the moment, or the ring's end.
            _ => self.counters.receive_errors += 1,
        }
        UdpEvent::Nothing
    }
}

fn port_of(endpoint: &Endpoint) -> usize {
    match endpoint.remote {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(_) => 1,
    }
}

/// A receive by its port and the generation of its socket.
fn receive_context(port: u32, generation: u32) -> u64 {
    u64::from(port) << 32 | u64::from(generation)
}

fn receive_of(context: u64) -> (usize, u32) {
    (usize::from(context >> 32 != 0), (context & u64::from(u32::MAX)) as u32)
}

impl std::fmt::Debug for UdpEdge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpEdge").field("ports", &self.ports).field("counters", &self.counters).finish_non_exhaustive()
    }
}
