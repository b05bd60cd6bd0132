//! Reads: by the kernel into a group of provided buffers, or, where it cannot, by us when it says that there is
//! something.

use std::fs::File;
use std::io::{self, Read};

use ring_buffers::{
    BufferGroup, Filled, JUMBO_SIZE, LineId, OpId, Polled, Pool, PushError, Ring, RingError, SlotClass, Tag, View,
};

use super::EdgeConfig;
use super::{Renewal, Rest, TunEdge, TunEvent};
use crate::virtio::VNET_HDR_LEN;

/// Bytes of a jumbo slot that a read may fill: the header and the largest packet that a TUN device gives (its
/// `tso_max_size`). The rest of the slot is the tail room of what was read.
pub const READ_BUFFER_LEN: usize = VNET_HDR_LEN + 65_536;

/// Packets in a row that the driver may have no header for, before reading counts as impossible: more than a queue
/// holds.
const UNDESCRIBED_MAX: u32 = 20_000;

const _: () = assert!(READ_BUFFER_LEN + 15 + 16 <= JUMBO_SIZE, "padding and tag of the tunnel fit behind any packet");

/// Packets read in a turn by [`TunEdge::poll_read`], so the rest of the turn gets its share.
const READS_PER_TURN: u32 = 64;

#[derive(Debug)]
pub(super) enum Reader {
    Multishot(Multishot),
    Polling(Polling),
}

/// `READ_MULTISHOT`: one operation, a completion for each packet.
#[derive(Debug)]
pub(super) struct Multishot {
    pub(super) group: BufferGroup,
    armed: Option<OpId>,
}

/// A multishot `POLL_ADD`, and plain reads until there is nothing left.
#[derive(Debug)]
pub(super) struct Polling {
    armed: Option<OpId>,
    /// The kernel said that there is something, and we have not seen the end of it.
    ready: bool,
    /// There was no slot to read into.
    starved: bool,
    left_in_turn: u32,
}

impl Reader {
    pub(super) fn multishot(ring: &mut Ring, pool: &Pool, config: &EdgeConfig) -> Result<Self, RingError> {
        let &EdgeConfig { group, read_slots, line, .. } = config;
        let group = BufferGroup::register(ring, pool, group, SlotClass::Jumbo, read_slots, READ_BUFFER_LEN)?;
        Ok(Self::Multishot(Multishot { group: group.claiming_for(line), armed: None }))
    }

    pub(super) fn polling() -> Self {
        Self::Polling(Polling { armed: None, ready: false, starved: false, left_in_turn: READS_PER_TURN })
    }

    /// The operation that is in flight.
    pub(super) fn armed(&self) -> Option<OpId> {
        match self {
            Self::Multishot(Multishot { armed, .. }) | Self::Polling(Polling { armed, .. }) => *armed,
        }
    }

    /// Begins to read from the file at `place`.
    pub(super) fn arm(&mut self, ring: &mut Ring, place: u32, tag: Tag) -> Result<(), PushError> {
        match self {
            Self::Multishot(Multishot { armed, group }) => *armed = Some(ring.read_multishot(place, group, tag)?),
            Self::Polling(Polling { armed, .. }) => *armed = Some(ring.poll_multishot(place, tag)?),
        }
        Ok(())
    }

    pub(super) fn is_starved(&self) -> bool {
        match self {
            Self::Multishot(multishot) => multishot.group.in_kernel() == 0,
            Self::Polling(polling) => polling.starved,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Polling(Polling { ready: true, starved: false, .. }))
    }
}

impl Polling {
    pub(super) fn begin_turn(&mut self, pool: &Pool, line: LineId) {
        self.left_in_turn = READS_PER_TURN;
        self.starved &= pool.available(line) == 0;
    }

    /// One packet, or nothing for now.
    fn read(&mut self, file: &File, pool: &Pool, line: LineId) -> io::Result<Option<View>> {
        if !self.ready || self.starved || self.left_in_turn == 0 {
            return Ok(None);
        }
        let Some(mut view) = pool.claim_for(line) else {
            self.starved = true;
            return Ok(None);
        };
        view.truncate(READ_BUFFER_LEN);
        self.left_in_turn -= 1;
        let mut file = file;
        match file.read(&mut view) {
            Ok(len) => {
                view.truncate(len);
                Ok(Some(view))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.ready = false;
                Ok(None)
            }
            Err(e) => {
                // The packet is gone. Otherwise it is tried again when the device is found to be readable once more.
                self.ready = e.raw_os_error() == Some(libc::EINVAL);
                Err(e)
            }
        }
    }
}

impl TunEdge {
    /// Reads a packet without the ring, where the kernel cannot do it by itself. `None` when there is none, when
    /// there is no slot for it, or when the turn's share is used up ([`TunEdge::is_readable`] stays true then).
    pub fn poll_read(&mut self) -> Option<TunEvent> {
        let Reader::Polling(polling) = &mut self.reader else { return None };
        if self.closed || self.rest != Rest::No {
            return None;
        }
        let was_starved = polling.starved;
        match polling.read(&self.file, &self.pool, self.line) {
            Ok(Some(view)) => Some(self.was_read(view)),
            Ok(None) => {
                self.counters.reads_starved += u64::from(polling.starved && !was_starved);
                None
            }
            Err(e) => {
                let event = self.read_ended(&e);
                if matches!(event, TunEvent::Nothing) { None } else { Some(event) }
            }
        }
    }

    #[inline]
    pub(super) fn complete_read(&mut self, filled: Filled) -> TunEvent {
        let Reader::Multishot(reader) = &mut self.reader else { return self.late() };
        if !filled.goes_on() {
            reader.armed = None;
        }
        match filled.into_view() {
            Ok(Some(view)) => self.was_read(view),
            Ok(None) => TunEvent::Nothing,
            Err(errno) => self.read_ended(&io::Error::from_raw_os_error(errno)),
        }
    }

    pub(super) fn complete_poll(&mut self, polled: &Polled) -> TunEvent {
        let Reader::Polling(reader) = &mut self.reader else { return self.late() };
        if !polled.goes_on() {
            reader.armed = None;
        }
        match polled.outcome() {
            // Also for POLLERR: the read will say what it is.
            Ok(()) => {
                reader.ready = true;
                TunEvent::Nothing
            }
            Err(errno) => self.read_ended(&io::Error::from_raw_os_error(errno)),
        }
    }

    #[inline]
    fn was_read(&mut self, view: View) -> TunEvent {
        self.counters.reads += 1;
        self.undescribed = 0;
        TunEvent::Read(view)
    }

    fn read_ended(&mut self, error: &io::Error) -> TunEvent {
        match error.raw_os_error() {
            // Renewed as soon as a slot is free: see `prepare`.
            Some(libc::ENOBUFS) => self.counters.reads_starved += 1,
            // After our own `close`, `rest` or `renew`, or at the ring's end.
            Some(libc::ECANCELED) if self.closed || self.rest != Rest::No || self.renewal == Renewal::Begun => {}
            Some(libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ECANCELED) => self.counters.read_errors += 1,
            // A packet for which there is no virtio header: a super-packet of a kind that was switched off while it
            // waited. The driver has dropped it.
            Some(libc::EINVAL) if self.undescribed < UNDESCRIBED_MAX => {
                self.undescribed += 1;
                self.counters.read_errors += 1;
            }
            // What a queue answers whose device was deleted.
            Some(libc::EBADFD) => return self.gone(),
            _ => return self.read_failed(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))),
        }
        TunEvent::Nothing
    }

    fn read_failed(&mut self, error: io::Error) -> TunEvent {
        self.closed = true;
        TunEvent::ReadFailed(error)
    }

    /// The first who notices that the device is gone says so.
    pub(super) fn gone(&mut self) -> TunEvent {
        self.closed = true;
        if std::mem::replace(&mut self.gone, true) { TunEvent::Nothing } else { TunEvent::Gone }
    }
}
