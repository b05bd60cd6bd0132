//! The memory of an arena: a mapping of the kernel's, or ordinary memory of the allocator.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::{self, NonNull};

use crate::RingError;

/// The least that is mapped, and that the kernel charges for.
pub(crate) const PAGE: usize = 4096;
const HUGE_PAGE: usize = 2 << 20;

/// Private, zeroed, page-aligned memory. It goes back to where it came from on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    origin: Origin,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Kernel,
    Allocator,
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

    /// At least `bytes` of the allocator's memory, in whole pages. No system call is made for it here.
    pub(crate) fn heap(bytes: usize) -> Self {
        let len = bytes.max(1).next_multiple_of(PAGE);
        let layout = heap_layout(len);
        // SAFETY: the layout is not empty, since it has at least one page.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        Self { base, len, origin: Origin::Allocator }
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
        // What peers say to each other has no place in a core dump. Miri leaves none, and knows no advice.
        #[cfg(not(miri))]
        // SAFETY: the range is the mapping that was just made; advice changes no content and its failure no meaning.
        unsafe {
            libc::madvise(p, len.max(1), libc::MADV_DONTDUMP)
        };
        Ok(Self { base, len, origin: Origin::Kernel })
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
        // Every view keeps the arena, and so this value, alive. So does a ring that was told the address, until its
        // requests have ended.
        match self.origin {
            // SAFETY: base and len are those of a mapping that this value alone owns, see above.
            Origin::Kernel => unsafe {
                libc::munmap(self.base.as_ptr().cast(), self.len.max(1));
            },
            // SAFETY: `heap` allocated this memory with the same layout, and this value alone owns it.
            Origin::Allocator => unsafe { dealloc(self.base.as_ptr(), heap_layout(self.len)) },
        }
    }
}

fn heap_layout(len: usize) -> Layout {
    Layout::from_size_align(len, PAGE).expect("an arena is far smaller than the address space")
}
