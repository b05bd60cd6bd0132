//! The edge of one worker: its TUN queue, the read and the writes that are in flight on it.

#![forbid(unsafe_code)]

mod read;
mod write;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ring_buffers::{Capabilities, Completion, LineId, NotBegun, Pool, PushError, Ring, RingError, Tag, View};

use read::Reader;

pub use read::READ_BUFFER_LEN;
pub use write::{PIECES_MAX, WriteError, WriteFailed, WriteRefusal, WriteRefused};

/// The numbers by which the edge is known to its ring, and how much it may hold.
#[derive(Clone, Copy, Debug)]
pub struct EdgeConfig {
    /// [`Tag::edge`] of everything that it submits.
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
pub enum TunEvent {
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
    /// How often reading stood still because buffers ran out.
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

/// Whether an edge reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It does.
    No,
    /// It must not, and the read in flight is still to be cancelled.
    Wanted,
    /// It does not.
    Begun,
}

/// Whether the read in flight gives way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// It does not.
    No,
    /// It is still to be cancelled.
    Wanted,
    /// It was cancelled.
    Begun,
}

/// The TUN edge of a worker. It allocates: buffers come out of it filled, and go back by being dropped.
///
/// The turn of its owner:
///
/// ```text
///   edge.prepare(ring, 0)                     buffers to the kernel, a read in flight
///   ring.turn(...)                            sleep only if !edge.is_readable()
///   for c in completions: edge.complete(c)    ──► TunEvent
///   while let Some(e) = edge.poll_read()      ──► TunEvent  (kernels without READ_MULTISHOT)
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
    /// How many packets in a row could not be read.
    undescribed: u32,
    /// Nothing is read any more.
    closed: bool,
    /// Nothing is read for now, and what the kernel has is left to it.
    rest: Rest,
    /// The read in flight is to end, and another to begin.
    renewal: Renewal,
    /// The device was deleted.
    gone: bool,
    /// How many writes, and how many of these in more than one piece, may be in flight.
    writes_max: u16,
    gathers_max: u16,
    writes_in_flight: u16,
    gathers_in_flight: u16,
    counters: EdgeCounters,
}

impl TunEdge {
    /// An edge on `queue`, one of [`crate::Tun::into_queues`]. Writes are cheaper if the arena of `pool` is registered
    /// with `ring`.
    ///
    /// # Errors
    /// [`RingError::Setup`] if the ring refuses the queue or the buffers.
    pub fn new(ring: &mut Ring, pool: &Pool, queue: OwnedFd, config: EdgeConfig) -> Result<Self, RingError> {
        ring.update_file(config.place, Some(queue.as_fd()))?;
        let reader = if config.capabilities.read_multishot {
            Reader::multishot(ring, pool, &config)?
        } else {
            Reader::polling()
        };
        ring.reserve_gathers(config.gathers, PIECES_MAX);
        Ok(Self {
            edge: config.edge,
            place: config.place,
            file: File::from(queue),
            pool: pool.clone(),
            line: config.line,
            reader,
            writev_fixed: config.capabilities.writev_fixed,
            undescribed: 0,
            closed: false,
            rest: Rest::No,
            renewal: Renewal::No,
            gone: false,
            writes_max: config.writes,
            gathers_max: config.gathers,
            writes_in_flight: 0,
            gathers_in_flight: 0,
            counters: EdgeCounters::default(),
        })
    }

    /// Gives the kernel buffers, and renews a read that has ended. Called once a turn, before the ring's. `unread` is
    /// how many reads were reaped and wait to be completed; their buffers count as if the kernel had them.
    ///
    /// # Errors
    /// [`PushError`] if the ring takes no entry.
    pub fn prepare(&mut self, ring: &mut Ring, unread: usize) -> Result<(), PushError> {
        if self.closed {
            return Ok(());
        }
        if self.rest != Rest::No {
            return self.stop_reading(ring);
        }
        match &mut self.reader {
            Reader::Multishot(multishot) => _ = multishot.group.refill_beside(unread),
            Reader::Polling(polling) => polling.begin_turn(&self.pool, self.line),
        }
        if let Some(read) = self.reader.armed() {
            if self.renewal == Renewal::Wanted {
                ring.cancel(read)?;
                self.renewal = Renewal::Begun;
            }
            return Ok(());
        }
        if self.reader.is_starved() {
            return Ok(());
        }
        self.reader.arm(ring, self.place, Tag { edge: self.edge, context: 0 })?;
        self.renewal = Renewal::No;
        self.counters.reads_begun += 1;
        Ok(())
    }

    /// Whether the kernel has no buffer to read into: some must come home before anything does.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.reader.is_starved()
    }

    /// Whether [`TunEdge::poll_read`] has work, so the owner must not sleep.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.closed && self.rest == Rest::No && self.reader.is_ready()
    }

    /// Writes a packet: `packet` begins with the header of [`crate::WriteHeader::write`]. The outcome comes as an
    /// [`TunEvent`] with the same context.
    ///
    /// # Errors
    /// [`WriteRefused`] gives the packet back.
    pub fn write(&mut self, ring: &mut Ring, packet: View, context: u64) -> Result<(), WriteRefused> {
        if self.gone {
            return Err(WriteRefused { view: packet, why: WriteRefusal::Gone });
        }
        if self.writes_free() == 0 {
            return Err(WriteRefused { view: packet, why: WriteRefusal::Full });
        }
        match ring.write(self.place, packet, Tag { edge: self.edge, context }) {
            Ok(memory) => {
                self.count_write(memory);
                Ok(())
            }
            Err(NotBegun { view, why }) => Err(WriteRefused { view, why: WriteRefusal::Ring(why) }),
        }
    }

    /// Writes a packet that lies in pieces, at most [`PIECES_MAX`]; the first begins with the header of
    /// [`crate::WriteHeader::write`]. `pieces` is empty afterwards.
    ///
    /// # Errors
    /// [`WriteRefusal`]; `pieces` is as it was.
    pub fn write_gathered(
        &mut self,
        ring: &mut Ring,
        pieces: &mut Vec<View>,
        context: u64,
    ) -> Result<(), WriteRefusal> {
        if self.gone {
            return Err(WriteRefusal::Gone);
        }
        if pieces.is_empty() || pieces.len() > PIECES_MAX {
            return Err(WriteRefusal::Pieces);
        }
        if self.gathers_free() == 0 {
            return Err(WriteRefusal::Full);
        }
        let tag = Tag { edge: self.edge, context };
        let memory = ring.write_gathered(self.place, pieces, self.writev_fixed, tag).map_err(WriteRefusal::Ring)?;
        self.count_write(memory);
        self.gathers_in_flight += 1;
        self.counters.writes_gathered += 1;
        Ok(())
    }

    /// Writes that can still be given to the kernel before some complete.
    #[must_use]
    pub fn writes_free(&self) -> usize {
        usize::from(self.writes_max - self.writes_in_flight)
    }

    /// Writes of more than one piece that can still be given to the kernel before some complete.
    #[must_use]
    pub fn gathers_free(&self) -> usize {
        usize::from(self.gathers_max - self.gathers_in_flight).min(self.writes_free())
    }

    /// Says what a completion of this edge means. One of another edge, which is a mistake, is dropped and counted.
    #[inline]
    pub fn complete(&mut self, completion: Completion) -> TunEvent {
        match completion {
            Completion::Read(filled) if filled.tag().edge == self.edge => self.complete_read(filled),
            Completion::Wrote(wrote) if wrote.tag().edge == self.edge => self.complete_write(wrote),
            Completion::Polled(polled) if polled.tag().edge == self.edge => self.complete_poll(&polled),
            _ => self.late(),
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
    /// [`PushError`] if the ring takes no entry.
    pub fn close(&mut self, ring: &mut Ring) -> Result<(), PushError> {
        self.closed = true;
        self.reader.armed().map_or(Ok(()), |read| ring.cancel(read))
    }

    /// Reads nothing from now on, until [`TunEdge::go_on`]: packets stay in the kernel's queue. What was read before
    /// comes as completions until [`TunEdge::is_idle`]. Writes go on.
    pub fn rest(&mut self) {
        if self.rest == Rest::No {
            self.rest = Rest::Wanted;
        }
    }

    /// Reads again. To be called when the edge is [idle](TunEdge::is_idle).
    pub fn go_on(&mut self) {
        self.rest = Rest::No;
    }

    /// Ends the read in flight and begins another, with the next [`TunEdge::prepare`]s.
    ///
    /// To be called when a file was taken out of the table of `ring`, at whatever place. Before Linux 6.13, the kernel
    /// keeps it until all operations have ended that were in flight then: a closed socket keeps its port. A read of a
    /// quiet interface ends by itself never.
    pub fn renew(&mut self) {
        self.renewal = Renewal::Wanted;
    }

    fn stop_reading(&mut self, ring: &mut Ring) -> Result<(), PushError> {
        if self.rest == Rest::Wanted {
            self.reader.armed().map_or(Ok(()), |read| ring.cancel(read))?;
            self.rest = Rest::Begun;
        }
        Ok(())
    }

    /// Whether nothing of this edge is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.reader.armed().is_none() && self.writes_in_flight == 0
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
        ring.update_file(self.place, None)?;
        match std::mem::replace(&mut self.reader, Reader::polling()) {
            Reader::Multishot(multishot) => multishot.group.unregister(ring).map_err(|(_, error)| error),
            Reader::Polling(_) => Ok(()),
        }
    }

    #[cold]
    fn late(&mut self) -> TunEvent {
        self.counters.late_completions += 1;
        TunEvent::Nothing
    }
}
