//! A ring of provided buffers: free slots that the kernel fills as data arrives (`io_uring_register_buf_ring(3)`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::RingError;
use crate::arena::Slot;
use crate::layout::{LineId, SlotClass};
use crate::mapping::{Mapping, PAGE};
use crate::pool::Pool;
use crate::ring::Ring;
use crate::view::View;

/// How far the kernel's number of a group is above ours. Kernels before 6.8 never forget how far one of the first 64
/// was read. The next of that number goes on there: it takes entries that are not there, and writes into slots that we
/// have.
const NUMBER_OFFSET: u16 = 64;

/// Slots of one class with the kernel, for the multishot operations of one edge.
///
/// Its owner gives it free slots. The filled ones come with completions, and in no other way.
#[derive(Debug)]
pub struct BufferGroup(Rc<Group>);

/// What the ring and the owner of a group share.
#[derive(Debug)]
pub(crate) struct Group {
    id: u16,
    entries: Mapping,
    mask: u16,
    tail: Cell<u16>,
    class: SlotClass,
    quota: u16,
    /// For whom slots are claimed.
    line: Cell<Option<LineId>>,
    buffer_len: u32,
    /// Which slots the kernel has from this group; indexed by slot number.
    provided: RefCell<Box<[bool]>>,
    in_kernel: Cell<u16>,
    /// Operations in flight that take buffers from this group.
    users: Cell<u16>,
    /// The registration has ended, or the ring has.
    closed: Cell<bool>,
    pool: Pool,
}

impl BufferGroup {
    /// Registers an empty group that holds up to `quota` slots, and shows the kernel the first `buffer_len` bytes of
    /// each. What is beyond stays as tail room of the views.
    ///
    /// # Errors
    /// [`RingError::Setup`] if the registration fails.
    ///
    /// # Panics
    /// If `buffer_len` is more than a slot, `quota` more than 32,768, or `id` more than 65,471.
    pub fn register(
        ring: &mut Ring,
        pool: &Pool,
        id: u16,
        class: SlotClass,
        quota: u16,
        buffer_len: usize,
    ) -> Result<Self, RingError> {
        assert!(buffer_len <= class.size(), "the kernel is shown no more than the slot");
        assert!(id <= u16::MAX - NUMBER_OFFSET, "the kernel has no number for this group");
        let count = entry_count(quota);
        let group = Rc::new(Group {
            id,
            entries: Mapping::pages(entries_len(count))?,
            mask: count - 1,
            tail: Cell::new(0),
            class,
            quota,
            line: Cell::new(None),
            buffer_len: u32::try_from(buffer_len).expect("a slot is shorter than 4 GiB"),
            provided: RefCell::new(vec![false; pool.accounting().total].into_boxed_slice()),
            in_kernel: Cell::new(0),
            users: Cell::new(0),
            closed: Cell::new(false),
            pool: pool.clone(),
        });
        ring.register_group(&group, count)?;
        Ok(Self(group))
    }

    /// Memory that the kernel charges to `RLIMIT_MEMLOCK` for a group of this quota; see [`Ring::locked_len`].
    ///
    /// # Panics
    /// As [`BufferGroup::register`].
    #[must_use]
    pub fn locked_len(quota: u16) -> usize {
        entries_len(entry_count(quota)).next_multiple_of(PAGE)
    }

    /// Claims slots for that line of the budget from now on. Without it, the group takes none that is reserved for
    /// anybody.
    ///
    /// # Panics
    /// If the line is of another class: the kernel would be shown more than the slot.
    #[must_use]
    pub fn claiming_for(self, line: LineId) -> Self {
        assert_eq!(self.0.pool.0.class_of(line), self.0.class, "a group's line has slots of its class");
        self.0.line.set(Some(line));
        self
    }

    /// The number of this group in its ring.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.0.id
    }

    /// Buffers that the kernel has.
    #[must_use]
    pub fn in_kernel(&self) -> u16 {
        self.0.in_kernel.get()
    }

    /// Gives the kernel free slots until it has its quota or there are none to claim, and returns how many these were.
    /// None after the ring's end.
    pub fn refill(&mut self) -> u16 {
        self.0.refill(self.0.quota)
    }

    /// The same, if `unread` of its slots are in completions that nobody has looked at yet. These count as if the
    /// kernel had them, so a reader that waits does not take the slots of others.
    pub fn refill_beside(&mut self, unread: usize) -> u16 {
        self.0.refill(self.0.quota.saturating_sub(u16::try_from(unread).unwrap_or(u16::MAX)))
    }

    /// Ends the registration and takes every slot home.
    ///
    /// # Errors
    /// [`RingError::GroupInUse`] while operations in flight take buffers from the group, or [`RingError::Setup`]. The
    /// group comes back as it was.
    pub fn unregister(self, ring: &mut Ring) -> Result<(), (Self, RingError)> {
        ring.unregister_group(&self.0).map_err(|error| (self, error))
    }

    pub(crate) fn shared(&self) -> &Rc<Group> {
        &self.0
    }
}

impl Group {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// The number by which the kernel knows it.
    pub(crate) fn number(&self) -> u16 {
        self.id + NUMBER_OFFSET
    }

    pub(crate) fn entries(&self) -> *mut u8 {
        self.entries.base().as_ptr()
    }

    pub(crate) fn users(&self) -> u16 {
        self.users.get()
    }

    /// An operation that takes buffers from here is in flight.
    pub(crate) fn begin_use(&self) {
        self.users.set(self.users.get().checked_add(1).expect("a ring has at most 65,535 operations"));
    }

    /// It is not any more.
    pub(crate) fn end_use(&self) {
        self.users.set(self.users.get().checked_sub(1).expect("each use ends once"));
    }

    fn refill(&self, quota: u16) -> u16 {
        let before = self.in_kernel.get();
        while !self.closed.get() && self.in_kernel.get() < quota {
            let Some(slot) = self.pool.0.provide(self.class, self.line.get()) else { break };
            self.write_entry(slot);
            self.provided.borrow_mut()[usize::from(slot.0)] = true;
            self.in_kernel.set(self.in_kernel.get() + 1);
        }
        if self.in_kernel.get() != before {
            self.publish();
        }
        self.in_kernel.get() - before
    }

    /// The buffer that a completion named, as a view of its first `len` bytes. `None` if the kernel does not have it
    /// from this group.
    pub(crate) fn take(&self, buffer: u16, len: usize) -> Option<View> {
        if !std::mem::take(self.provided.borrow_mut().get_mut(usize::from(buffer))?) {
            return None;
        }
        self.in_kernel.set(self.in_kernel.get() - 1);
        let slot = Slot(buffer);
        self.pool.0.accept(slot);
        let mut view = View::of_slot(self.pool.0.clone(), slot);
        view.truncate(len.min(self.buffer_len as usize));
        Some(view)
    }

    /// Takes every slot home, once the kernel cannot write any of them.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        for (number, provided) in (0u16..).zip(self.provided.borrow_mut().iter_mut()) {
            if std::mem::take(provided) {
                self.pool.0.recycle_provided(Slot(number));
            }
        }
        self.in_kernel.set(0);
    }

    /// Takes no more slots, and loses those that it has: the kernel may still write them.
    pub(crate) fn abandon(&self) {
        self.closed.set(true);
    }

    fn write_entry(&self, slot: Slot) {
        let tail = self.tail.get();
        let base: *mut BufRingEntry = self.entries.base().as_ptr().cast();
        // SAFETY: the index is masked to the entries that were mapped.
        let entry = unsafe { base.add(usize::from(tail & self.mask)) };
        // SAFETY: the entry is mapped and aligned, and the kernel does not read it before the tail passes it. Its
        // last two bytes, which hold the tail in the first entry, are not written by the setters below.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.pool.0.shared.start(slot).as_ptr() as u64);
        entry.set_len(self.buffer_len);
        entry.set_bid(slot.0);
        self.tail.set(tail.wrapping_add(1));
    }

    fn publish(&self) {
        // SAFETY: the address is that of the first entry, which is mapped and holds whole entries.
        let tail = unsafe { BufRingEntry::tail(self.entries.base().as_ptr().cast()) };
        // SAFETY: the tail is two aligned bytes that the kernel only reads, and this is the only writer.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail.get(), Ordering::Release);
    }
}

fn entry_count(quota: u16) -> u16 {
    quota.max(1).checked_next_power_of_two().filter(|&n| n <= 1 << 15).expect("at most 32,768 buffers")
}

fn entries_len(count: u16) -> usize {
    usize::from(count) * size_of::<BufRingEntry>()
}
