//! A ring of provided buffers: free slots that the kernel fills as data arrives (`io_uring_register_buf_ring(3)`).

use crate::RingError;
use crate::arena::Slot;
use crate::layout::{LineId, SlotClass};
use crate::mapping::{Mapping, PAGE};
use crate::pool::Pool;
use crate::ring::Ring;
use crate::view::View;
use io_uring::types::BufRingEntry;
use std::sync::atomic::{AtomicU16, Ordering};

/// Slots of one class with the kernel, for the multishot reads of one edge.
#[derive(Debug)]
pub struct BufferGroup {
    id: u16,
    entries: Mapping,
    mask: u16,
    tail: u16,
    class: SlotClass,
    quota: u16,
    /// For whom slots are claimed.
    line: Option<LineId>,
    buffer_len: u32,
    /// Which slots the kernel has from this group; indexed by slot number.
    provided: Box<[bool]>,
    in_kernel: u16,
    pool: Pool,
}

/// A completion named a buffer that the kernel does not have from this group: a bug, here or there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel returned buffer {0}, which was not provided to it")]
pub struct UnexpectedBuffer(pub u16);

impl BufferGroup {
    /// Registers an empty group that holds up to `quota` slots, and shows the kernel the first `buffer_len` bytes of
    /// each. What is beyond stays as tail room of the views.
    ///
    /// # Errors
    /// [`RingError::Setup`] if the registration fails.
    ///
    /// # Panics
    /// If `buffer_len` is more than a slot, or `quota` more than 32,768.
    pub fn register(
        ring: &mut Ring,
        pool: &Pool,
        id: u16,
        class: SlotClass,
        quota: u16,
        buffer_len: usize,
    ) -> Result<Self, RingError> {
        assert!(buffer_len <= class.size(), "the kernel is shown no more than the slot");
        let count = entry_count(quota);
        let entries = Mapping::pages(entries_len(count))?;
        let address = entries.base().as_ptr() as u64;
        // SAFETY: the entries are mapped and page-aligned. The kernel pins their pages for as long as it uses them, so
        // that even a group that is dropped without `unregister` leaves it nothing dangling; the slots that it then
        // still has are never given out again.
        let registered = unsafe { ring.io_uring().submitter().register_buf_ring_with_flags(address, count, id, 0) };
        registered.map_err(|e| RingError::setup("registering a buffer ring", e))?;
        ring.keep(pool.0.shared.clone());
        Ok(Self {
            id,
            entries,
            mask: count - 1,
            tail: 0,
            class,
            quota,
            line: None,
            buffer_len: u32::try_from(buffer_len).expect("a slot is shorter than 4 GiB"),
            provided: vec![false; usize::from(pool.0.shared.layout.slots())].into_boxed_slice(),
            in_kernel: 0,
            pool: pool.clone(),
        })
    }

    /// Memory that the kernel charges to `RLIMIT_MEMLOCK` for a group of this quota; see [`Ring::locked_len`].
    ///
    /// # Panics
    /// As [`BufferGroup::register`].
    #[must_use]
    pub fn locked_len(quota: u16) -> usize {
        entries_len(entry_count(quota)).next_multiple_of(PAGE)
    }

    /// Claims slots for that line of the budget, which must be of the group's class. Without it, the group takes none
    /// that is reserved for anybody.
    #[must_use]
    pub fn claiming_for(self, line: LineId) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The number by which submissions name this group.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Buffers that the kernel has.
    #[must_use]
    pub fn in_kernel(&self) -> u16 {
        self.in_kernel
    }

    /// Gives the kernel free slots until it has its quota or there are none to claim, and returns how many these were.
    pub fn refill(&mut self) -> u16 {
        let before = self.in_kernel;
        while self.in_kernel < self.quota {
            let Some(slot) = self.pool.0.provide(self.class, self.line) else { break };
            self.write_entry(slot);
            self.provided[usize::from(slot.0)] = true;
            self.in_kernel += 1;
        }
        if self.in_kernel != before {
            self.publish();
        }
        self.in_kernel - before
    }

    /// Takes a buffer that a completion named, as a view of its first `len` bytes.
    ///
    /// # Errors
    /// [`UnexpectedBuffer`] if the kernel does not have it from this group.
    pub fn take(&mut self, buffer: u16, len: usize) -> Result<View, UnexpectedBuffer> {
        match self.provided.get_mut(usize::from(buffer)) {
            Some(provided @ true) => *provided = false,
            _ => return Err(UnexpectedBuffer(buffer)),
        }
        self.in_kernel -= 1;
        let slot = Slot(buffer);
        self.pool.0.accept(slot);
        let mut view = View::of_slot(self.pool.0.clone(), slot);
        view.truncate(len.min(self.buffer_len as usize));
        Ok(view)
    }

    fn write_entry(&mut self, slot: Slot) {
        let index = usize::from(self.tail & self.mask);
        let base: *mut BufRingEntry = self.entries.base().as_ptr().cast();
        // SAFETY: the index is masked to the entries that were mapped.
        let entry = unsafe { base.add(index) };
        // SAFETY: the entry is mapped and aligned, and the kernel does not read it before the tail passes it. Its
        // last two bytes, which hold the tail in the first entry, are not written by the setters below.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.pool.0.shared.start(slot).as_ptr() as u64);
        entry.set_len(self.buffer_len);
        entry.set_bid(slot.0);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the address is that of the first entry, which is mapped and holds whole entries.
        let tail = unsafe { BufRingEntry::tail(self.entries.base().as_ptr().cast()) };
        // SAFETY: the tail is two aligned bytes that the kernel only reads, and this is the only writer.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Ends the registration and takes every slot home. The multishot operation that used it must have ended.
    ///
    /// # Errors
    /// [`RingError::Setup`] if the kernel still uses the group.
    pub fn unregister(mut self, ring: &mut Ring) -> Result<(), RingError> {
        let ended = ring.io_uring().submitter().unregister_buf_ring(self.id);
        ended.map_err(|e| RingError::setup("unregistering a buffer ring", e))?;
        for (number, provided) in (0u16..).zip(self.provided.iter_mut()) {
            if std::mem::take(provided) {
                self.pool.0.recycle_provided(Slot(number));
            }
        }
        self.in_kernel = 0;
        Ok(())
    }
}

fn entry_count(quota: u16) -> u16 {
    quota.max(1).checked_next_power_of_two().filter(|&n| n <= 1 << 15).expect("at most 32,768 buffers")
}

fn entries_len(count: u16) -> usize {
    usize::from(count) * size_of::<BufRingEntry>()
}
