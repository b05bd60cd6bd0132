//! The edge of one worker: its TUN queue, the read and the writes that are in flight on it.

mod read;
mod write;

use io_uring::{opcode, squeue, types};
use read::Reader;
use ring_buffers::{Capabilities, Completion, LineId, Ops, Pool, Ring, RingError, Token, View};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use write::{Gather, WriteOp};

pub use read::READ_BUFFER_LEN;
pub use write::{PIECES_MAX, Refusal, Refused, WriteError, WriteFailed};

/// The numbers by which the edge is known to its ring, and how much it may hold.
#[derive(Clone, Copy, Debug)]
pub struct EdgeConfig {
    /// [`Token::edge`] of everything that it submits.
    pub edge: u8,
    /// Place of the queue in the ring's table of files, which has been registered with room for it.
    pub place: u32,
    /// Number of the buffer group for reads.
    pub group: u16,
    /// Jumbo slots that wait in the kernel for packets.
    pub read_slots: u16,
    /// The line of the arena's budget that reads are charged to, of jumbo slots.
    pub line: LineId,
    /// Writes that can be in flight at once.
    pub writes: u16,
    /// How many of these can have more than one piece.
    pub gathers: u16,
    /// What the kernel can do; what it cannot is done in another way.
    pub capabilities: Capabilities,
}

/// What a completion turned out to be.
#[derive(Debug)]
pub enum Event {
    /// A packet came: [`crate::VNET_HDR_LEN`] bytes for [`crate::virtio::parse`], then the packet. Behind it there is
    /// tail room for what a tunnel adds.
    Read(View),
    /// A packet was taken by the kernel; its buffers are home.
    Wrote {
        /// What the caller gave along.
        context: u64,
    },
    /// A packet was not taken; its buffers come back.
    WriteFailed(WriteFailed),
    /// The device was deleted: nothing will be read any more, and writes fail.
    Gone,
    /// Reading ended for good with an error that does not pass, which is a bug, here or there.
    ReadFailed(io::Error),
    /// Nothing that concerns the caller.
    Nothing,
}

/// What happened on the edge; plain integers of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounters {
    /// Packets and super-packets read.
    pub reads: u64,
    /// Multishot operations begun: the first, and one for each that ended.
    pub reads_begun: u64,
    /// How often reading stood still for want of buffers.
    pub reads_starved: u64,
    /// Other errors of reads, all of which pass.
    pub read_errors: u64,
    /// Packets and super-packets given to the kernel.
    pub writes: u64,
    /// Of these, those in more than one piece.
    pub writes_gathered: u64,
    /// Of the writes, those from memory that is not registered with this ring.
    pub writes_unregistered: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Completions of operations that were no longer waited for.
    pub late_completions: u64,
}

const OP_READ: u8 = 1;
const OP_POLL: u8 = 2;
const OP_WRITE: u8 = 3;
const OP_CANCEL: u8 = 4;

/// The TUN edge of a worker. It allocates: buffers come out of it filled, and go back by being dropped.
///
/// The turn of its owner:
///
/// ```text
///   edge.prepare(ring)                        buffers to the kernel, a read in flight
///   ring.turn(...)                            sleep only if !edge.is_readable()
///   for c in completions: edge.complete(c)    ──► Event
///   while let Some(e) = edge.poll_read()      ──► Event  (kernels without READ_MULTISHOT)
/// ```
#[derive(Debug)]
pub struct TunEdge {
    edge: u8,
    place: u32,
    file: File,
    pool: Pool,
    line: LineId,
    reader: Reader,
    writev_fixed: bool,
    /// Nothing is read any more.
    closed: bool,
    /// The device was deleted.
    gone: bool,
    /// Leaked on drop if some are in flight, so that the kernel never looks at freed memory.
    writes: ManuallyDrop<Ops<WriteOp>>,
    /// Gathers that no write uses.
    gathers: Vec<Gather>,
    counters: EdgeCounters,
}

impl TunEdge {
    /// An edge on `queue`, one of [`crate::Tun::into_queues`]. Writes are cheaper if the arena of `pool` is registered
    /// with `ring`.
    ///
    /// # Errors
    /// [`RingError::Setup`] if the ring refuses the queue or the buffers.
    pub fn new(ring: &mut Ring, pool: &Pool, queue: OwnedFd, config: EdgeConfig) -> Result<Self, RingError> {
        ring.update_file(config.place, queue.as_raw_fd())?;
        let reader = if config.capabilities.read_multishot {
            Reader::multishot(ring, pool, &config)?
        } else {
            Reader::polling()
        };
        Ok(Self {
            edge: config.edge,
            place: config.place,
            file: File::from(queue),
            pool: pool.clone(),
            line: config.line,
            reader,
            writev_fixed: config.capabilities.writev_fixed,
            closed: false,
            gone: false,
            writes: ManuallyDrop::new(Ops::new(config.writes)),
            gathers: (0..config.gathers).map(|_| Gather::new()).collect(),
            counters: EdgeCounters::default(),
        })
    }

    /// Gives the kernel buffers, and renews a read that has ended. Called once a turn, before the ring's.
    ///
    /// # Errors
    /// The error of an `io_uring_enter` that does not pass.
    pub fn prepare(&mut self, ring: &mut Ring) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let queue = types::Fixed(self.place);
        let entry = match &mut self.reader {
            Reader::Multishot(multishot) => {
                multishot.group.refill();
                // A stream has no offset; -1 says so for every kind of file.
                let entry = opcode::ReadMulti::new(queue, 0, multishot.group.id()).offset(u64::MAX).build();
                // io-uring 0.7.15 forgets here that the file is a registered one.
                entry.flags(squeue::Flags::FIXED_FILE)
            }
            Reader::Polling(polling) => {
                polling.begin_turn(&self.pool, self.line);
                opcode::PollAdd::new(queue, libc::POLLIN as u32).multi(true).build()
            }
        };
        if self.reader.is_armed() || self.reader.is_starved() {
            return Ok(());
        }
        // SAFETY: the entry has no address in it; the buffers that the kernel writes are the group's.
        unsafe { ring.push(entry.user_data(self.read_token().encode())) }?;
        self.reader.set_armed(true);
        self.counters.reads_begun += 1;
        Ok(())
    }

    /// Whether the kernel has no buffer to read into: some must come home before anything does.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.reader.is_starved()
    }

    /// Whether [`TunEdge::poll_read`] has work, so that the owner must not sleep.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.closed && self.reader.is_ready()
    }

    /// Whether a completion belongs to this edge.
    #[must_use]
    pub fn owns(&self, completion: &Completion) -> bool {
        completion.token().edge == self.edge
    }

    /// Whether a completion of this edge is that of a read, which is due an answer and may wait for the means.
    #[must_use]
    pub fn is_read(&self, completion: &Completion) -> bool {
        self.owns(completion) && completion.token().op == OP_READ
    }

    /// Whether a completion of this edge is that of a write, which frees an operation.
    #[must_use]
    pub fn is_write(&self, completion: &Completion) -> bool {
        self.owns(completion) && completion.token().op == OP_WRITE
    }

    /// Writes a packet: `packet` begins with the header of [`crate::Transmit::write`]. The outcome comes as an
    /// [`Event`] with the same context.
    ///
    /// # Errors
    /// [`Refused`] gives the packet back.
    pub fn write(&mut self, ring: &mut Ring, packet: View, context: u64) -> Result<(), Refused> {
        if self.gone {
            return Err(Refused { view: packet, why: Refusal::Gone });
        }
        if self.writes.is_full() {
            return Err(Refused { view: packet, why: Refusal::Full });
        }
        let registered = ring.has_arena() && self.pool.owns(&packet);
        let lent = packet.lend();
        let (address, len) = (lent.as_ptr().cast_const(), lent.len() as u32);
        let queue = types::Fixed(self.place);
        let entry = if registered {
            opcode::WriteFixed::new(queue, address, len, Ring::ARENA_BUFFER).offset(u64::MAX).build()
        } else {
            opcode::Write::new(queue, address, len).offset(u64::MAX).build()
        };
        self.launch(ring, entry, WriteOp::One { context, lent }).map_err(|(op, why)| {
            let WriteOp::One { lent, .. } = op else { unreachable!("the operation comes back as it was given") };
            // SAFETY: the operation was never submitted.
            Refused { view: unsafe { lent.settle() }, why }
        })?;
        self.counters.writes += 1;
        self.counters.writes_unregistered += u64::from(!registered);
        Ok(())
    }

    /// Writes a packet that lies in pieces, at most [`PIECES_MAX`]; the first begins with the header of
    /// [`crate::Transmit::write`]. `pieces` is empty afterwards.
    ///
    /// # Errors
    /// [`Refusal`]; `pieces` is as it was.
    pub fn write_gathered(&mut self, ring: &mut Ring, pieces: &mut Vec<View>, context: u64) -> Result<(), Refusal> {
        if self.gone {
            return Err(Refusal::Gone);
        }
        if pieces.is_empty() || pieces.len() > PIECES_MAX {
            return Err(Refusal::Pieces);
        }
        if self.writes.is_full() {
            return Err(Refusal::Full);
        }
        let Some(mut gather) = self.gathers.pop() else { return Err(Refusal::Full) };
        let registered = ring.has_arena() && pieces.iter().all(|piece| self.pool.owns(piece));
        gather.load(pieces);
        let (queue, (iovecs, count)) = (types::Fixed(self.place), gather.iovecs());
        let entry = if registered && self.writev_fixed {
            opcode::WritevFixed::new(queue, iovecs, count, Ring::ARENA_BUFFER).offset(u64::MAX).build()
        } else {
            opcode::Writev::new(queue, iovecs, count).offset(u64::MAX).build()
        };
        if let Err((op, why)) = self.launch(ring, entry, WriteOp::Gathered { context, gather }) {
            let WriteOp::Gathered { mut gather, .. } = op else {
                unreachable!("the operation comes back as it was given")
            };
            // SAFETY: the operation was never submitted.
            unsafe { gather.settle(|view| pieces.push(view)) };
            self.gathers.push(gather);
            return Err(why);
        }
        self.counters.writes += 1;
        self.counters.writes_gathered += 1;
        self.counters.writes_unregistered += u64::from(!registered);
        Ok(())
    }

    /// Writes that can still be given to the kernel before some complete.
    #[must_use]
    pub fn writes_free(&self) -> usize {
        self.writes.capacity() - self.writes.in_flight()
    }

    /// Writes of more than one piece that can still be given to the kernel before some complete.
    #[must_use]
    pub fn gathers_free(&self) -> usize {
        self.gathers.len().min(self.writes_free())
    }

    /// Says what a completion of this edge means.
    pub fn complete(&mut self, completion: Completion) -> Event {
        match completion.token().op {
            OP_READ => self.complete_read(completion),
            OP_POLL => self.complete_poll(completion),
            OP_WRITE => self.complete_write(completion),
            _ => Event::Nothing,
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> EdgeCounters {
        self.counters
    }

    /// Stops reading. Completions go on to come until [`TunEdge::is_idle`].
    ///
    /// # Errors
    /// The error of an `io_uring_enter` that does not pass.
    pub fn close(&mut self, ring: &mut Ring) -> io::Result<()> {
        self.closed = true;
        if self.reader.is_armed() {
            let token = self.read_token();
            let cancel = opcode::AsyncCancel::new(token.encode()).build();
            // SAFETY: the entry has no address in it.
            unsafe { ring.push(cancel.user_data(Token { op: OP_CANCEL, ..token }.encode())) }?;
        }
        Ok(())
    }

    /// Whether nothing of this edge is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.reader.is_armed() && self.writes.in_flight() == 0
    }

    /// Takes the buffers home from the kernel and lets go of the queue. The edge must be [idle](TunEdge::is_idle).
    ///
    /// # Errors
    /// [`RingError::Setup`] if the kernel still uses them (`EBUSY` if the edge is not idle); they are lost then.
    pub fn finish(mut self, ring: &mut Ring) -> Result<(), RingError> {
        if !self.is_idle() {
            let source = io::Error::from_raw_os_error(libc::EBUSY);
            return Err(RingError::Setup { step: "closing a TUN queue", source });
        }
        ring.update_file(self.place, -1)?;
        match std::mem::replace(&mut self.reader, Reader::polling()) {
            Reader::Multishot(multishot) => multishot.group.unregister(ring),
            Reader::Polling(_) => Ok(()),
        }
    }

    fn read_token(&self) -> Token {
        let op = match self.reader {
            Reader::Multishot(_) => OP_READ,
            Reader::Polling(_) => OP_POLL,
        };
        Token { edge: self.edge, op, index: 0, generation: 0 }
    }

    fn late(&mut self) -> Event {
        self.counters.late_completions += 1;
        Event::Nothing
    }

    fn launch(&mut self, ring: &mut Ring, entry: squeue::Entry, op: WriteOp) -> Result<(), (WriteOp, Refusal)> {
        let (id, _) = self.writes.insert(op).map_err(|op| (op, Refusal::Full))?;
        let token = Token { edge: self.edge, op: OP_WRITE, index: id.index, generation: id.generation };
        // SAFETY: what the entry points to was lent, or lies in the operation, and both are kept in the table until
        // the final completion; an edge that is dropped before leaks them.
        match unsafe { ring.push(entry.user_data(token.encode())) } {
            Ok(()) => Ok(()),
            Err(e) => Err((self.writes.complete(id).expect("it was just inserted"), Refusal::Ring(e))),
        }
    }
}

impl Drop for TunEdge {
    fn drop(&mut self) {
        if self.writes.in_flight() == 0 {
            // SAFETY: dropped here for the only time, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.writes) };
        }
    }
}
