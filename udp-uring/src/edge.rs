//! The edge of one worker: its two sockets, the receives and sends that are in flight on them.

mod outbound;

use crate::error::Family;
use crate::gso::Gso;
use crate::path::Path;
use crate::receive::{ReceiveDrop, Received, Request};
use crate::segmentation::Segmentation;
use crate::send::{SendFailed, SendOp, Sent};
use crate::socket::SocketPair;
use io_uring::opcode;
use nix::errno::Errno;
use ring_buffers::{BufferGroup, Completion, Ops, Ring, RingError, Token};
use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

/// The numbers by which the edge is known to its ring.
#[derive(Clone, Copy, Debug)]
pub struct EdgeConfig {
    /// [`Token::edge`] of everything that it submits.
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
pub enum Event {
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
    /// Nothing that concerns the caller: a retry is under way, an operation was cancelled, a receive will be renewed.
    Nothing,
}

/// The operator is to be told that the kernel refused a train, and that its datagrams left one by one.
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
    /// Of these, for want of buffers (`ENOBUFS`).
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

const OP_RECEIVE: u8 = 1;
const OP_SEND: u8 = 2;
const OP_CANCEL: u8 = 3;

/// One socket of the edge.
#[derive(Debug)]
struct Port {
    family: Family,
    place: u32,
    /// There is a socket at that place.
    open: bool,
    /// A receive is in flight.
    armed: bool,
    /// Receiving failed for good.
    failed: bool,
    gso: Gso,
    notice: Option<GsoNotice>,
}

/// The UDP edge of a worker. It allocates: buffers come out of its [`BufferGroup`] filled, and go back by being dropped.
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
    request: ManuallyDrop<Request>,
    sends: ManuallyDrop<Ops<SendOp>>,
    segmentation: Segmentation,
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
            armed: false,
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
            request: ManuallyDrop::new(Request::new()),
            sends: ManuallyDrop::new(Ops::new(config.operations)),
            segmentation: config.segmentation,
            counters: EdgeCounters::default(),
        }
    }

    /// Takes over other sockets, and lets go of those that it had. Datagrams that are still underway from those are
    /// discarded; sends in flight end on the sockets that they began with.
    ///
    /// # Errors
    /// [`RingError::Setup`]; the edge is closed then.
    pub fn rebind(&mut self, ring: &mut Ring, sockets: &SocketPair) -> Result<(), RingError> {
        self.close(ring)?;
        for (i, socket) in [Some(sockets.v4()), sockets.v6()].into_iter().enumerate() {
            let Some(socket) = socket else { continue };
            if let Err(e) = ring.update_file(self.ports[i].place, socket.as_raw_fd()) {
                // One family alone would be served as if that were intended.
                self.close(ring)?;
                return Err(e);
            }
            self.ports[i].open = true;
            self.ports[i].gso = Gso::new(sockets.offloads().gso);
        }
        Ok(())
    }

    /// Lets go of the sockets. Their port is free for others when [`UdpEdge::is_releasing`] has become false, and
    /// nobody else has descriptors of them. Trains that were taken but not submitted yet fail with `EBADF`.
    ///
    /// # Errors
    /// [`RingError::Setup`].
    pub fn close(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        let former = self.generation;
        self.generation = former.wrapping_add(1);
        self.former_sends = self.sends.in_flight();
        for i in 0..self.ports.len() {
            let token = self.receive_token(i, former);
            let port = &mut self.ports[i];
            if std::mem::take(&mut port.armed) {
                self.former_receives += 1;
                let cancel = opcode::AsyncCancel::new(token.encode()).build();
                let cancel = cancel.user_data(Token { op: OP_CANCEL, ..token }.encode());
                // SAFETY: the entry has no address in it.
                unsafe { ring.push(cancel) }
                    .map_err(|source| RingError::Setup { step: "cancelling a receive", source })?;
            }
            port.failed = false;
            port.notice = None;
            if std::mem::take(&mut port.open) {
                ring.update_file(port.place, -1)?;
            }
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
    /// The error of an `io_uring_enter` that does not pass.
    pub fn prepare(&mut self, ring: &mut Ring) -> io::Result<()> {
        self.group.refill();
        if self.group.in_kernel() == 0 {
            return Ok(());
        }
        for i in 0..self.ports.len() {
            let token = self.receive_token(i, self.generation);
            let port = &mut self.ports[i];
            if port.open && !port.armed && !port.failed {
                let entry = self.request.entry(port.place, self.group.id(), token);
                // SAFETY: the request is boxed and lives until the edge is dropped, which leaks it if it is in flight;
                // the buffers that the kernel writes are the group's.
                unsafe { ring.push(entry) }?;
                port.armed = true;
            }
        }
        Ok(())
    }

    /// Whether the kernel has no buffer to receive into: some must come home before anything does.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.group.in_kernel() == 0
    }

    /// Whether a completion belongs to this edge.
    #[must_use]
    pub fn owns(&self, completion: &Completion) -> bool {
        completion.token().edge == self.edge
    }

    /// Whether a completion of this edge is that of a send, which frees a slot.
    #[must_use]
    pub fn is_send(&self, completion: &Completion) -> bool {
        self.owns(completion) && completion.token().op == OP_SEND
    }

    /// Sends that are in flight.
    #[must_use]
    pub fn sends_in_flight(&self) -> usize {
        self.sends.in_flight()
    }

    /// Says what a completion of this edge means.
    pub fn complete(&mut self, ring: &mut Ring, completion: Completion) -> Event {
        match completion.token().op {
            OP_RECEIVE => self.complete_receive(completion),
            OP_SEND => self.complete_send(ring, completion),
            _ => Event::Nothing,
        }
    }

    /// What the operator is to be told; each thing once.
    pub fn take_notice(&mut self) -> Option<GsoNotice> {
        self.ports.iter_mut().find_map(|port| port.notice.take())
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> EdgeCounters {
        self.counters
    }

    fn receive_token(&self, port: usize, generation: u32) -> Token {
        let index = u16::try_from(port).expect("there are two ports");
        Token { edge: self.edge, op: OP_RECEIVE, index, generation }
    }

    fn complete_receive(&mut self, completion: Completion) -> Event {
        // Whatever else it means, a buffer that the kernel took comes home.
        let len = completion.outcome().unwrap_or(0);
        let buffer = completion.buffer().map(|buffer| self.group.take(buffer, len));
        let Some(port) = self.ports.get_mut(usize::from(completion.token().index)) else {
            return Event::Dropped(ReceiveDrop::Malformed);
        };
        if completion.token().generation != self.generation {
            self.counters.late_completions += 1;
            let ended = u32::from(!completion.has_more());
            self.former_receives = self.former_receives.saturating_sub(ended);
            return match (completion.outcome(), buffer) {
                (Ok(_), Some(Ok(view))) => {
                    Event::Late { datagrams: Received::parse(view).map_or(1, |r| r.datagrams()) }
                }
                _ => Event::Nothing,
            };
        }
        if !completion.has_more() {
            port.armed = false;
            self.counters.receives_renewed += 1;
        }
        match (completion.outcome(), buffer) {
            (Ok(_), Some(Ok(view))) => Received::parse(view).map_or_else(Event::Dropped, Event::Received),
            (Ok(_), _) => Event::Dropped(ReceiveDrop::Malformed),
            (Err(errno), _) => self.receive_ended(usize::from(completion.token().index), Errno::from_raw(errno)),
        }
    }

    fn receive_ended(&mut self, port: usize, errno: Errno) -> Event {
        let port = &mut self.ports[port];
        match errno {
            Errno::ENOBUFS => self.counters.receives_starved += 1,
            // The ring is being shut down.
            Errno::ECANCELED => port.failed = true,
            Errno::EBADF | Errno::ENOTSOCK | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EFAULT => {
                port.failed = true;
                return Event::ReceiveFailed { family: port.family, errno };
            }
            // An error of some datagram sent before, or the system's distress of the moment.
            _ => self.counters.receive_errors += 1,
        }
        Event::Nothing
    }
}

fn port_of(path: &Path) -> usize {
    match path.remote {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(_) => 1,
    }
}

impl Drop for UdpEdge {
    /// What the kernel may still look at stays where it is.
    fn drop(&mut self) {
        if self.sends.in_flight() == 0 {
            // SAFETY: dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.sends) };
        }
        if self.former_receives == 0 && self.ports.iter().all(|p| !p.armed) {
            // SAFETY: dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.request) };
        }
    }
}

impl std::fmt::Debug for UdpEdge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpEdge").field("ports", &self.ports).field("counters", &self.counters).finish_non_exhaustive()
    }
}
