//! A thread's own ring with sockets in it: datagrams out of and into slots of registered memory.
//!
//! This is where the crate meets the kernel. Sends do not wait (`MSG_DONTWAIT`): what a socket cannot take at once has
//! failed, so the order of sending is that of submitting. Receives are multishot, into provided buffers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, Doorbell, Filled, Pool, Ring, RingConfig, SlotClass, Tag, View, Wait, Waker,
};
use ringfort_testbed::{Context, Result};

const EDGE: u8 = 0;
const GROUP: u16 = 0;
/// Completions looked at in one go.
const BATCH_LEN: usize = 256;

/// What a port is to have.
pub(crate) struct PortPlan<'a> {
    /// The sockets; operations name them by their place here.
    pub(crate) sockets: Vec<BorrowedFd<'a>>,
    /// Addresses that are sent to; sends name them by their place here.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Sends in flight at once; each has a slot.
    pub(crate) sends: u16,
    /// Buffers for receiving; 0 for none.
    pub(crate) receives: u16,
    /// Room for how long a datagram, or a train of them.
    pub(crate) slot: SlotClass,
    /// Rings when the owner is to look around.
    pub(crate) waker: &'a Waker,
}

/// One thing that happened.
pub(crate) enum PortEvent {
    /// A datagram came in on the socket at `place`; several side by side if the kernel merged them.
    Received { place: u16, bytes: View },
    /// A datagram left; its slot is free again.
    Sent(View),
    /// The kernel refused a datagram, with this `errno`.
    Refused(View, i32),
    /// So many bytes went into the connection at `place`, or an `errno`.
    Written { place: u16, outcome: std::result::Result<usize, i32> },
    /// The other side has closed a connection.
    Closed,
    /// Somebody rang.
    Rung,
}

/// A ring, its sockets and its memory.
pub(crate) struct Port {
    ring: Ring,
    bell: Doorbell,
    group: Option<BufferGroup>,
    addresses: Box<[Vec<u8>]>,
    pool: Pool,
    slot: SlotClass,
    /// Places of sockets whose receive has ended or not begun.
    to_arm: Vec<u16>,
    completions: VecDeque<Completion>,
}

impl Port {
    /// Makes it for the calling thread. It receives on every socket if it receives at all.
    pub(crate) fn new(plan: &PortPlan<'_>) -> Result<Self> {
        let attempt = "making a ring for traffic";
        // Beside the sends, each socket is received on or written to, and there is the bell.
        let places = u16::try_from(plan.sockets.len()).context("counting sockets")?;
        let operations = plan.sends + plan.receives + places + 1;
        let config = RingConfig { submissions: 512, completions: 4_096, operations };
        let mut ring = Ring::new(config).context(attempt)?;
        let files: Vec<_> = plan.sockets.iter().copied().map(Some).collect();
        ring.register_files(&files).context(attempt)?;
        // What is being sent by a reflector lies in a buffer that was received into.
        let budget = Budget::new().line("sends", plan.slot, plan.sends).line("receives", plan.slot, plan.receives);
        let arena = Arena::new(&budget, plan.waker.clone()).context(attempt)?;
        // An end that only writes to connections has no slots.
        if plan.sends + plan.receives > 0 {
            ring.register_arena(&arena).context(attempt)?;
        }
        let pool = Pool::new(arena);
        let register = |ring: &mut Ring| {
            BufferGroup::register(ring, &pool, GROUP, plan.slot, plan.receives, plan.slot.size()).context(attempt)
        };
        let group = (plan.receives > 0).then(|| register(&mut ring)).transpose()?;
        let mut bell = Doorbell::new(plan.waker.clone(), tag(0));
        bell.arm(&mut ring).context(attempt)?;
        let mut port = Self {
            ring,
            bell,
            group,
            addresses: plan.addresses.iter().map(bytes_of).collect(),
            pool,
            slot: plan.slot,
            to_arm: if plan.receives > 0 { (0..places).collect() } else { Vec::new() },
            completions: VecDeque::with_capacity(BATCH_LEN),
        };
        port.turn(Wait::No)?;
        Ok(port)
    }

    /// A free slot, whole.
    pub(crate) fn claim(&self) -> Option<View> {
        self.pool.claim(self.slot)
    }

    /// Sends the first `len` bytes from the socket at `place` to an address, or to where the socket is connected. Its
    /// view comes back with an event.
    pub(crate) fn send(&mut self, place: u16, address: Option<usize>, bytes: View, len: usize) -> Result<()> {
        let address = address.map_or(&[][..], |address| &self.addresses[address]);
        match self.ring.send(place.into(), bytes, len, address, tag(place)) {
            Ok(_) => Ok(()),
            Err(not_begun) => Err(not_begun.why).context("submitting a send"),
        }
    }

    /// Writes to the connection at `place`; waits until at least a part of the bytes fits. One at a time for each
    /// place.
    pub(crate) fn write(&mut self, place: u16, bytes: &'static [u8]) -> Result<()> {
        self.ring.write_static(place.into(), bytes, tag(place)).map(drop).context("submitting a write")
    }

    /// Gives the kernel free buffers, renews receives that have ended, and enters the ring once.
    pub(crate) fn turn(&mut self, wait: Wait) -> Result<()> {
        if let Some(group) = &mut self.group {
            group.refill();
            for place in self.to_arm.drain(..) {
                self.ring.receive_multishot(place.into(), group, tag(place)).context("submitting a receive")?;
            }
        }
        self.bell.arm(&mut self.ring).context("arming the bell")?;
        self.ring.turn(wait).map(drop).context("entering the ring")
    }

    /// The next thing that happened before the last turn ended.
    ///
    /// # Errors
    /// A receive failed with an error that does not pass.
    pub(crate) fn next_event(&mut self) -> Result<Option<PortEvent>> {
        loop {
            if self.completions.is_empty() {
                let Self { ring, completions, .. } = self;
                ring.reap(BATCH_LEN, |completion| completions.push_back(completion));
            }
            let Some(completion) = self.completions.pop_front() else { return Ok(None) };
            match completion {
                Completion::Sent(sent) => {
                    return Ok(Some(match sent.outcome() {
                        Ok(_) => PortEvent::Sent(sent.into_view()),
                        Err(errno) => PortEvent::Refused(sent.into_view(), errno),
                    }));
                }
                Completion::Wrote(wrote) => {
                    let place = place_of(wrote.tag());
                    return Ok(Some(PortEvent::Written { place, outcome: wrote.outcome() }));
                }
                Completion::Received(filled) => {
                    if let Some(event) = self.received(filled)? {
                        return Ok(Some(event));
                    }
                }
                Completion::Rang(rang) => {
                    self.bell.on_completion(rang);
                    return Ok(Some(PortEvent::Rung));
                }
                Completion::Read(_) | Completion::Polled(_) => {}
            }
        }
    }

    fn received(&mut self, filled: Filled) -> Result<Option<PortEvent>> {
        let place = place_of(filled.tag());
        if !filled.goes_on() {
            self.to_arm.push(place);
        }
        match filled.into_view() {
            Ok(Some(bytes)) => Ok(Some(PortEvent::Received { place, bytes })),
            // Out of buffers, or an ICMP error for something that was sent from the same socket: goes on with the next
            // turn.
            Err(libc::ENOBUFS | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => Ok(None),
            Err(errno) => Err(std::io::Error::from_raw_os_error(errno)).context("receiving"),
            Ok(None) => Ok(Some(PortEvent::Closed)),
        }
    }
}

fn tag(place: u16) -> Tag {
    Tag { edge: EDGE, context: place.into() }
}

fn place_of(tag: Tag) -> u16 {
    u16::try_from(tag.context).expect("all tags here are places")
}

/// A socket address as the kernel has it in memory.
fn bytes_of(address: &SocketAddr) -> Vec<u8> {
    let storage = SockaddrStorage::from(*address);
    let (start, len) = (storage.as_ptr().cast::<u8>(), storage.len() as usize);
    // SAFETY: the storage has that many bytes, all of them initialised, and lives until they are copied.
    unsafe { std::slice::from_raw_parts(start, len) }.to_vec()
}

/// The descriptors of sockets, for [`PortPlan::sockets`].
pub(crate) fn descriptors<S: AsFd>(sockets: &[S]) -> Vec<BorrowedFd<'_>> {
    sockets.iter().map(AsFd::as_fd).collect()
}
