//! Memory between two pages that nobody may touch: an access outside ends the test with SIGSEGV.

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Bytes of each guard. A multiple of every page size that Linux has on 64-bit machines.
const GUARD: usize = 64 << 10;

/// A mapping whose first and last [`GUARD`] bytes fault.
pub struct Guarded {
    map: NonNull<u8>,
    /// Bytes between the guards.
    capacity: usize,
}

impl Guarded {
    /// Room for at least `len` bytes.
    pub fn new(len: usize) -> Self {
        let capacity = len.max(1).next_multiple_of(GUARD);
        let whole = NonZeroUsize::new(capacity + 2 * GUARD).expect("it has two guards");
        // SAFETY: a new private mapping at an address of the kernel's choice replaces nobody's memory.
        let map = unsafe { mmap_anonymous(None, whole, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) };
        let map = map.expect("memory for a test").cast::<u8>();
        // SAFETY: the mapping is GUARD + capacity + GUARD bytes long.
        let middle = unsafe { map.add(GUARD) };
        // SAFETY: these pages are the middle of the mapping just made, which nobody else knows of.
        unsafe { mprotect(middle.cast(), capacity, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) }
            .expect("pages of our own can be made accessible");
        Self { map, capacity }
    }

    /// The first `len` bytes: one byte before them faults.
    pub fn front(&mut self, len: usize) -> &mut [u8] {
        self.slice(0, len)
    }

    /// The last `len` bytes: one byte behind them faults.
    pub fn back(&mut self, len: usize) -> &mut [u8] {
        self.slice(self.capacity - len, len)
    }

    /// Flush with the one guard or the other.
    pub fn flush(&mut self, at: Flush, len: usize) -> &mut [u8] {
        match at {
            Flush::Front => self.front(len),
            Flush::Back => self.back(len),
        }
    }

    fn slice(&mut self, at: usize, len: usize) -> &mut [u8] {
        assert!(at + len <= self.capacity);
        // SAFETY: GUARD + at is inside the mapping.
        let start = unsafe { self.map.add(GUARD + at) };
        // SAFETY: `at + len` bytes behind the guard are accessible and initialised (the kernel zeroed them); the borrow
        // of self makes the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, whole; no slice of it outlives self.
        unsafe { munmap(self.map.cast(), self.capacity + 2 * GUARD) }.expect("a mapping of our own can be removed");
    }
}

/// Which guard a buffer touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Front,
    Back,
}

impl Flush {
    pub const BOTH: [Self; 2] = [Self::Front, Self::Back];
}
