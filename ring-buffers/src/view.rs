//! Views: the only way to the bytes of a buffer, claimed by a move and released by a drop.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use crate::arena::{Shared, Slot};
use crate::pool::Inner;

/// A range of bytes of a backing, which is a slot of this core's arena, a slot of another core's, or heap memory.
///
/// # Invariants
/// 1. `ptr..ptr + len` lies within the backing.
/// 2. No two views of one backing overlap: a view is made whole, and afterwards only cut, or grown while
///    it is alone.
/// 3. While a view exists that is not lent, the kernel does not write its bytes.
/// 4. All views of a slot are on one thread.
pub struct View {
    ptr: NonNull<u8>,
    len: usize,
    slot: Slot,
    home: Home,
}

/// Where the backing goes when its last view is dropped.
enum Home {
    /// To the pool of this thread.
    Local(Rc<Inner>),
    /// Through the return path of the arena that another thread owns.
    Away(Arc<Shared>),
    /// To the allocator.
    Heap(Rc<HeapBacking>),
}

/// There is no room, or the slot is shared, so the room may be somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer has no room of its own for that many bytes")]
pub struct NoRoom;

impl View {
    /// A view of a slot that was just taken for it.
    pub(crate) fn of_slot(home: Rc<Inner>, slot: Slot) -> Self {
        let ptr = home.shared.start(slot);
        let len = home.shared.class(slot).size();
        Self { ptr, len, slot, home: Home::Local(home) }
    }

    /// A view of ordinary heap memory: for tests, and for owners that have no ring.
    #[must_use]
    pub fn heap(bytes: Vec<u8>) -> Self {
        let backing = HeapBacking::new(bytes.into_boxed_slice());
        Self { ptr: backing.ptr, len: backing.len, slot: Slot(0), home: Home::Heap(Rc::new(backing)) }
    }

    /// Cuts off and returns the first `at` bytes; this view keeps the rest. Both share the slot.
    ///
    /// # Panics
    /// If `at` is beyond the end.
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Self {
        assert!(at <= self.len, "a view of {} bytes cannot be split at {at}", self.len);
        let home = match &self.home {
            Home::Local(pool) => {
                pool.shared.shares(self.slot).views.up();
                Home::Local(pool.clone())
            }
            Home::Away(shared) => {
                shared.shares(self.slot).views.up();
                Home::Away(shared.clone())
            }
            Home::Heap(backing) => Home::Heap(backing.clone()),
        };
        let front = Self { ptr: self.ptr, len: at, slot: self.slot, home };
        self.advance(at);
        front
    }

    /// Gives up the first `n` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len, "a view of {} bytes cannot advance by {n}", self.len);
        // SAFETY: n is at most len, so the result stays within the backing or one past its end (invariant 1).
        self.ptr = unsafe { self.ptr.add(n) };
        self.len -= n;
    }

    /// Gives up all but the first `n` bytes; nothing happens if there are fewer.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Takes in `n` bytes behind the view, whose content is whatever was there before.
    ///
    /// # Errors
    /// [`NoRoom`] if the backing ends sooner, or is shared with another view, whose bytes these may be.
    pub fn reserve_tail(&mut self, n: usize) -> Result<(), NoRoom> {
        if n > self.tail_room() || !self.is_unique() {
            return Err(NoRoom);
        }
        self.len += n;
        Ok(())
    }

    /// Takes in `n` bytes in front of the view, whose content is whatever was there before.
    ///
    /// # Errors
    /// [`NoRoom`] if the backing begins later, or is shared with another view, whose bytes these may be.
    pub fn reserve_head(&mut self, n: usize) -> Result<(), NoRoom> {
        if n > self.place().0 || !self.is_unique() {
            return Err(NoRoom);
        }
        // SAFETY: at least n bytes of the backing are in front, so the result stays within it (invariant 1). No other
        // view has them, for there is none.
        self.ptr = unsafe { self.ptr.sub(n) };
        self.len += n;
        Ok(())
    }

    /// Bytes between the view's end and the backing's.
    #[must_use]
    pub fn tail_room(&self) -> usize {
        let (offset, size) = self.place();
        size - offset - self.len
    }

    /// Where the view begins in its backing, and how long that is.
    fn place(&self) -> (usize, usize) {
        let (start, size) = match &self.home {
            Home::Local(pool) => (pool.shared.start(self.slot), pool.shared.class(self.slot).size()),
            Home::Away(shared) => (shared.start(self.slot), shared.class(self.slot).size()),
            Home::Heap(backing) => (backing.ptr, backing.len),
        };
        (self.ptr.as_ptr() as usize - start.as_ptr() as usize, size)
    }

    /// Whether this is the only view of its backing.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        match &self.home {
            Home::Local(pool) => pool.shared.shares(self.slot).views.get() == 1,
            Home::Away(shared) => shared.shares(self.slot).views.get() == 1,
            Home::Heap(backing) => Rc::strong_count(backing) == 1,
        }
    }

    /// Whether the bytes are of this arena, whoever owns it.
    pub(crate) fn lies_in(&self, arena: &Arc<Shared>) -> bool {
        match &self.home {
            Home::Local(pool) => Arc::ptr_eq(&pool.shared, arena),
            Home::Away(shared) => Arc::ptr_eq(shared, arena),
            Home::Heap(_) => false,
        }
    }

    pub(crate) fn is_local_to(&self, pool: &Rc<Inner>) -> bool {
        self.slot_in(pool).is_some()
    }

    /// The slot, if it is one of this pool.
    pub(crate) fn slot_in(&self, pool: &Rc<Inner>) -> Option<Slot> {
        matches!(&self.home, Home::Local(home) if Rc::ptr_eq(home, pool)).then_some(self.slot)
    }

    /// Packs the view for another thread. The slot will come home from there.
    ///
    /// # Errors
    /// The view itself if the backing is shared, since the other views stay on this thread.
    pub fn send_away(self) -> Result<Parcel, Self> {
        if !self.is_unique() {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never used or dropped again, so the home is moved out exactly once.
        let home = unsafe { std::ptr::read(&raw const this.home) };
        let home = match home {
            Home::Local(pool) => FarHome::Slot(pool.shared.clone()),
            Home::Away(shared) => FarHome::Slot(shared),
            Home::Heap(backing) => match Rc::try_unwrap(backing) {
                Ok(backing) => FarHome::Heap(backing),
                Err(_) => unreachable!("uniqueness was checked above"),
            },
        };
        Ok(Parcel { ptr: this.ptr, len: this.len, slot: this.slot, home: Some(home) })
    }

    /// Hands the bytes to the kernel for the time of an operation.
    pub(crate) fn lend(self) -> Lent {
        if let Home::Local(pool) = &self.home {
            let shares = pool.shared.shares(self.slot);
            if shares.lent.up() == shares.views.get() {
                pool.held_to_kernel();
            }
        }
        Lent(ManuallyDrop::new(self))
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: invariants 1 to 3: the bytes are mapped, initialised (zeroed at first), and nobody writes them
        // while `&self` lives.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for View {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` of the only view of these bytes makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        match &self.home {
            Home::Local(pool) => {
                let shares = pool.shared.shares(self.slot);
                match shares.views.down() {
                    0 => pool.recycle_held(self.slot),
                    // All that is left of the slot is with the kernel.
                    left if left == shares.lent.get() => pool.held_to_kernel(),
                    _ => {}
                }
            }
            Home::Away(shared) => {
                if shared.shares(self.slot).views.down() == 0 {
                    shared.return_from_afar(self.slot);
                }
            }
            Home::Heap(_) => {}
        }
    }
}

impl fmt::Debug for View {
    /// Says where the view is, not what is in it: that may be somebody's plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let home = match self.home {
            Home::Local(_) => "local",
            Home::Away(_) => "away",
            Home::Heap(_) => "heap",
        };
        f.debug_struct("View").field("home", &home).field("slot", &self.slot.0).field("len", &self.len).finish()
    }
}

/// A view that the kernel reads or writes. It shows no bytes; dropping it without a completion loses the slot rather
/// than risk that the kernel and the program use it at once.
#[must_use = "a lent view comes back by `settle` after its completion"]
pub(crate) struct Lent(ManuallyDrop<View>);

impl Lent {
    /// First byte, for the submission entry.
    #[must_use]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.0.ptr.as_ptr()
    }

    /// Length in bytes.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    /// Takes the view back.
    ///
    /// # Safety
    /// The kernel must be done with the bytes: the final completion of the operation that they were lent to has been
    /// reaped, or the operation was never submitted.
    #[must_use]
    pub(crate) unsafe fn settle(self) -> View {
        let view = ManuallyDrop::into_inner(self.0);
        if let Home::Local(pool) = &view.home {
            let shares = pool.shared.shares(view.slot);
            if shares.lent.get() == shares.views.get() {
                pool.kernel_to_held();
            }
            shares.lent.down();
        }
        view
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&*self.0).finish()
    }
}

/// A unique view on its way to another thread. Dropped on the way, its backing goes home all the same.
pub struct Parcel {
    ptr: NonNull<u8>,
    len: usize,
    slot: Slot,
    /// `None` once it has arrived.
    home: Option<FarHome>,
}

enum FarHome {
    Slot(Arc<Shared>),
    Heap(HeapBacking),
}

// SAFETY: a parcel is the only view of its backing (checked when it was packed), so all that can reach the bytes
// and the slot's counts moves along with it; the home is an `Arc` of a `Sync` type, or heap memory owned outright.
unsafe impl Send for Parcel {}

impl Parcel {
    /// Unpacks the view on the thread where it arrived.
    #[must_use]
    pub fn arrive(mut self) -> View {
        let home = match self.home.take().expect("a parcel arrives once, it is consumed here") {
            FarHome::Slot(shared) => Home::Away(shared),
            FarHome::Heap(backing) => Home::Heap(Rc::new(backing)),
        };
        View { ptr: self.ptr, len: self.len, slot: self.slot, home }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(FarHome::Slot(shared)) = self.home.take() {
            shared.shares(self.slot).views.set(0);
            shared.return_from_afar(self.slot);
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel").field("slot", &self.slot.0).field("len", &self.len).finish()
    }
}

/// Heap memory that views point into. It is reached through `ptr` only, never as a `Box`, so the views' pointers
/// stay valid.
struct HeapBacking {
    ptr: NonNull<u8>,
    len: usize,
}

impl HeapBacking {
    fn new(bytes: Box<[u8]>) -> Self {
        let len = bytes.len();
        let ptr = NonNull::new(Box::into_raw(bytes).cast()).expect("a box is never null");
        Self { ptr, len }
    }
}

impl Drop for HeapBacking {
    fn drop(&mut self) {
        let slice = std::ptr::slice_from_raw_parts_mut(self.ptr.as_ptr(), self.len);
        // SAFETY: pointer and length are those of the box that `new` took apart, and no view is left to use them.
        drop(unsafe { Box::from_raw(slice) });
    }
}
