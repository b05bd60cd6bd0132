//! Anonymous memory from the kernel: the one place that maps and unmaps.

use crate::RingError;
use std::io;
use std::ptr::{self, NonNull};

/// The least that is mapped, and that the kernel charges for.
pub(crate) const PAGE: usize = 4096;
const HUGE_PAGE: usize = 2 << 20;

/// A private, zeroed, page-aligned mapping; unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory of the whole process, and `Mapping` itself reads and writes none of it. Who may
// touch which byte is decided by `View`, whose invariants do not depend on the thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives nothing but an address and a length.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps at least `bytes`, rounded up to whole pages.
    pub(crate) fn pages(bytes: usize) -> Result<Self, RingError> {
        Self::map(bytes.next_multiple_of(PAGE), 0).map_err(|source| RingError::Map { bytes, source })
    }

    /// Maps at least `bytes` on huge pages: reserved ones where the system has them, else ordinary pages that the
    /// kernel is asked to merge. A small arena is not rounded up, since that would waste more than it wins.
    pub(crate) fn huge(bytes: usize) -> Result<Self, RingError> {
        let rounded = bytes.next_multiple_of(HUGE_PAGE);
        if rounded - bytes <= bytes / 8
            && let Ok(mapping) = Self::map(rounded, libc::MAP_HUGETLB)
        {
            return Ok(mapping);
        }
        let mapping = Self::pages(bytes)?;
        // SAFETY: the range is the mapping that was just made; advice changes no content and its failure no meaning.
        unsafe { libc::madvise(mapping.base.as_ptr().cast(), mapping.len, libc::MADV_HUGEPAGE) };
        Ok(mapping)
    }

    fn map(len: usize, extra: libc::c_int) -> io::Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | extra;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
        let p = unsafe { libc::mmap(ptr::null_mut(), len.max(1), prot, flags, -1, 0) };
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(p.cast()).ok_or_else(|| io::Error::other("mmap returned the null page"))?;
        Ok(Self { base, len })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of a mapping that this value alone owns; every view keeps the arena, and so
        // this value, alive, and a ring that was told the address keeps it alive until its requests have ended.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len.max(1)) };
    }
}
