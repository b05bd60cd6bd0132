//! A thread's own ring with sockets in it: datagrams out of and into slots of registered memory.
//!
//! This is where the crate meets the kernel. Sends do not wait (`MSG_DONTWAIT`): what a socket cannot take at once has
//! failed, so the order of sending is that of submitting. Receives are multishot, into provided buffers.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{opcode, types};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, Doorbell, Lent, OpId, Ops, Pool, Ring, RingConfig, SlotClass, Token, View,
    Wait, Waker,
};
use ringfort_testbed::{Context, Error, Result};

const EDGE: u8 = 0;
const OP_BELL: u8 = 0;
const OP_RECEIVE: u8 = 1;
const OP_SEND: u8 = 2;
const OP_WRITE: u8 = 3;
const GROUP: u16 = 0;
const BELL: Token = Token { edge: EDGE, op: OP_BELL, index: 0, generation: 0 };
/// Completions looked at in one go.
const BATCH_LEN: usize = 256;

/// What a port is to have.
pub(crate) struct PortPlan<'a> {
    /// The sockets; operations name them by their place here.
    pub(crate) sockets: Vec<RawFd>,
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
pub(crate) enum Event {
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

/// A ring, its sockets and its memory. The fields are dropped in this order: first the ring, which ends what is in
/// flight.
pub(crate) struct Port {
    ring: Ring,
    bell: Doorbell,
    group: Option<BufferGroup>,
    sends: Ops<Lent>,
    addresses: Box<[SockaddrStorage]>,
    pool: Pool,
    slot: SlotClass,
    /// Places of sockets whose receive has ended or not begun.
    to_arm: Vec<u16>,
    completions: Vec<Completion>,
    /// How many of them have been looked at.
    looked_at: usize,
}

impl Port {
    /// Makes it for the calling thread. It receives on every socket if it receives at all.
    pub(crate) fn new(plan: &PortPlan<'_>) -> Result<Self> {
        let attempt = "making a ring for traffic";
        let config = RingConfig { submissions: 512, completions: 4_096 };
        let mut ring = Ring::new(config).context(attempt)?;
        ring.register_files(&plan.sockets).context(attempt)?;
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
        let places = u16::try_from(plan.sockets.len()).context("counting sockets")?;
        let mut bell = Doorbell::new(plan.waker.clone(), BELL);
        bell.arm(&mut ring).context(attempt)?;
        let mut port = Self {
            ring,
            bell,
            group,
            sends: Ops::new(plan.sends + plan.receives),
            addresses: plan.addresses.iter().map(|&address| SockaddrStorage::from(address)).collect(),
            pool,
            slot: plan.slot,
            to_arm: if plan.receives > 0 { (0..places).collect() } else { Vec::new() },
            completions: Vec::with_capacity(BATCH_LEN),
            looked_at: 0,
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
        let len = u32::try_from(len.min(bytes.len())).context("sending")?;
        let slot = self.sends.insert(bytes.lend());
        let (id, lent) = slot.map_err(|_| Error::new("more sends in flight than there is room for"))?;
        let mut send = opcode::Send::new(types::Fixed(place.into()), lent.as_ptr(), len).flags(libc::MSG_DONTWAIT);
        if let Some(address) = address {
            let address = &self.addresses[address];
            send = send.dest_addr(address.as_ptr()).dest_addr_len(address.len());
        }
        let token = Token { edge: EDGE, op: OP_SEND, index: id.index, generation: id.generation };
        let entry = send.build().user_data(token.encode());
        // SAFETY: the bytes are lent, and `sends` keeps them until the completion. The addresses are boxed, never
        // change, and outlive the ring, which is dropped first.
        unsafe { self.ring.push(entry) }.context("submitting a send")
    }

    /// Writes to the connection at `place`; waits until at least a part of the bytes fits. One at a time for each
    /// place.
    pub(crate) fn write(&mut self, place: u16, bytes: &'static [u8]) -> Result<()> {
        let len = u32::try_from(bytes.len()).context("writing")?;
        let token = Token { edge: EDGE, op: OP_WRITE, index: place, generation: 0 };
        let write = opcode::Send::new(types::Fixed(place.into()), bytes.as_ptr(), len);
        let entry = write.build().user_data(token.encode());
        // SAFETY: the bytes live as long as the program, and nobody can write them.
        unsafe { self.ring.push(entry) }.context("submitting a write")
    }

    /// Gives the kernel free buffers, renews receives that have ended, and enters the ring once.
    pub(crate) fn turn(&mut self, wait: Wait) -> Result<()> {
        if let Some(group) = &mut self.group {
            group.refill();
            for place in self.to_arm.drain(..) {
                let token = Token { edge: EDGE, op: OP_RECEIVE, index: place, generation: 0 };
                let receive = opcode::RecvMulti::new(types::Fixed(place.into()), GROUP);
                let entry = receive.build().user_data(token.encode());
                // SAFETY: the entry holds no address; the kernel takes memory from the group, which is registered.
                unsafe { self.ring.push(entry) }.context("submitting a receive")?;
            }
        }
        self.bell.arm(&mut self.ring).context("arming the bell")?;
        self.ring.turn(wait).context("entering the ring")
    }

    /// The next thing that happened before the last turn ended.
    ///
    /// # Errors
    /// A receive failed with an error that does not pass.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            if self.looked_at == self.completions.len() {
                self.completions.clear();
                self.looked_at = 0;
                self.ring.reap(&mut self.completions);
            }
            let Some(&completion) = self.completions.get(self.looked_at) else { return Ok(None) };
            self.looked_at += 1;
            let token = completion.token();
            match token.op {
                OP_SEND => return self.send_ended(completion).map(Some),
                OP_WRITE => return Ok(Some(Event::Written { place: token.index, outcome: completion.outcome() })),
                OP_RECEIVE => {
                    if let Some(event) = self.received(completion)? {
                        return Ok(Some(event));
                    }
                }
                _ => {
                    self.bell.on_completion(completion);
                    return Ok(Some(Event::Rung));
                }
            }
        }
    }

    fn send_ended(&mut self, completion: Completion) -> Result<Event> {
        let Token { index, generation, .. } = completion.token();
        let lent = self.sends.complete(OpId { index, generation });
        let lent = lent.ok_or_else(|| Error::new("the kernel completed a send that was not in flight"))?;
        // SAFETY: this is the only completion of the send, as of any send without zero-copy.
        let view = unsafe { lent.settle() };
        Ok(match completion.outcome() {
            Ok(_) => Event::Sent(view),
            Err(errno) => Event::Refused(view, errno),
        })
    }

    fn received(&mut self, completion: Completion) -> Result<Option<Event>> {
        let place = completion.token().index;
        if !completion.has_more() {
            self.to_arm.push(place);
        }
        match (completion.outcome(), completion.buffer()) {
            (Ok(len), Some(buffer)) => {
                let group = self.group.as_mut().ok_or_else(|| Error::new("a receive without buffers"))?;
                let bytes = group.take(buffer, len).context("receiving")?;
                Ok(Some(Event::Received { place, bytes }))
            }
            // Out of buffers, or an ICMP error for something that was sent from the same socket: goes on with the next
            // turn.
            (Err(libc::ENOBUFS | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH), _) => Ok(None),
            (Err(errno), _) => Err(std::io::Error::from_raw_os_error(errno)).context("receiving"),
            (Ok(_), None) => Ok(Some(Event::Closed)),
        }
    }
}

/// The descriptors of sockets, for [`PortPlan::sockets`].
pub(crate) fn descriptors<S: AsRawFd>(sockets: &[S]) -> Vec<RawFd> {
    sockets.iter().map(AsRawFd::as_raw_fd).collect()
}
