//! The kernel's side of provided buffers, and of messages that are described by address.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// A ring of provided buffers: the program moves the tail, the kernel the head.
pub(super) struct Buffers {
    pub(super) id: u16,
    entries: *mut BufRingEntry,
    mask: u16,
    pub(super) head: u16,
}

impl Buffers {
    pub(super) fn new(id: u16, entries: *mut u8, count: u16, head: u16) -> Self {
        Self { id, entries: entries.cast(), mask: count - 1, head }
    }

    /// Fills the next buffer with `parts`, as far as they fit, and returns its number and how much that was. `None` if
    /// there is none.
    pub(super) fn fill(&mut self, parts: &[&[u8]]) -> Option<(u16, usize)> {
        // SAFETY: whoever registered the entries keeps them, all of them initialised, while they are registered.
        let tail = unsafe { BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is two aligned bytes within them, which the program writes as an atomic too.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) }.load(Ordering::Acquire);
        if self.head == tail {
            return None;
        }
        // SAFETY: the index is masked to the entries that there are.
        let entry = unsafe { self.entries.add(usize::from(self.head & self.mask)) };
        // SAFETY: the program wrote it before it moved the tail past it.
        let entry = unsafe { &*entry };
        self.head = self.head.wrapping_add(1);
        let (mut to, room) = (entry.addr() as *mut u8, entry.len() as usize);
        let mut filled = 0;
        for part in parts {
            let len = part.len().min(room - filled);
            // SAFETY: the program has lent `room` bytes from that address, and does not touch them.
            unsafe { to.copy_from_nonoverlapping(part.as_ptr(), len) };
            // SAFETY: no further than the end of these bytes.
            to = unsafe { to.add(len) };
            filled += len;
        }
        Some((entry.bid(), filled))
    }
}

/// The bytes at an address that the program has lent.
///
/// # Safety
/// They must be there, initialised, and not written meanwhile.
pub(super) unsafe fn bytes_at(address: *const u8, len: usize) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: the caller answers for the bytes.
    unsafe { std::slice::from_raw_parts(address, len) }.to_vec()
}

/// The bytes of all pieces.
///
/// # Safety
/// As for [`bytes_at`], for the pieces and for the list of them.
pub(super) unsafe fn gathered_at(pieces: *const libc::iovec, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..count {
        // SAFETY: the caller answers for the list.
        let piece = unsafe { pieces.add(i) };
        // SAFETY: as above.
        let libc::iovec { iov_base, iov_len } = unsafe { *piece };
        // SAFETY: the caller answers for the pieces.
        bytes.extend(unsafe { bytes_at(iov_base.cast(), iov_len) });
    }
    bytes
}
