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
        let mapping = Self::map(bytes.next_multiple_of(PAGE), 0).map_err(|source| RingError::Map { bytes, source })?;
        mapping.left_out_of_dumps()
    }

    /// Maps at least `bytes` on huge pages: reserved ones where the system has them, else ordinary pages that the
    /// kernel is asked to merge. A small arena is not rounded up, since that would waste more than it wins.
    pub(crate) fn huge(bytes: usize) -> Result<Self, RingError> {
        // Of this size, whatever the system's default is: of a larger page, a part can be neither advised nor unmapped.
        Self::huge_by(bytes, |len| Self::map(len, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB))
    }

    fn huge_by(bytes: usize, reserved: impl FnOnce(usize) -> io::Result<Self>) -> Result<Self, RingError> {
        let rounded = bytes.next_multiple_of(HUGE_PAGE);
        if bytes > 0
            && rounded - bytes <= bytes / 8
            && let Ok(mapping) = reserved(rounded)
            && let Ok(mapping) = mapping.left_out_of_dumps()
            && mapping.populate().is_ok()
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
        Ok(Self { base, len, origin: Origin::Kernel })
    }

    /// Has the kernel find all pages now. It maps reserved huge pages also where a control group forbids them
    /// (`hugetlb.2MB.max`). Whoever touched one would get SIGBUS.
    fn populate(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping, whose pages may be written to; the advice changes no content.
        let result = unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_POPULATE_WRITE) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// What peers say to each other has no place in a core dump. Every kernel that has io_uring can leave it out.
    #[cfg(not(miri))]
    fn left_out_of_dumps(self) -> Result<Self, RingError> {
        // SAFETY: the range is this mapping, which nobody else has yet; advice changes no content.
        let result = unsafe { libc::madvise(self.base.as_ptr().cast(), self.len.max(1), libc::MADV_DONTDUMP) };
        if result == 0 { Ok(self) } else { Err(RingError::Dumped(io::Error::last_os_error())) }
    }

    /// Miri leaves no dumps, and knows no advice.
    #[cfg(miri)]
    fn left_out_of_dumps(self) -> Result<Self, RingError> {
        Ok(self)
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

#[cfg(all(test, not(miri)))]
mod tests {
    use std::fs;
    use std::mem::offset_of;
    use std::thread;

    use super::*;

    /// The flags of the mapping that this address is in, as the kernel lists them.
    fn flags(address: usize) -> String {
        let maps = fs::read_to_string("/proc/self/smaps").expect("there is /proc");
        let mut is_it = false;
        let flags = maps.lines().find_map(|line| match line.strip_prefix("VmFlags:") {
            Some(flags) if is_it => Some(flags.to_owned()),
            Some(_) => None,
            None => {
                let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
                let hex = |digits| usize::from_str_radix(digits, 16).ok();
                let range = range.and_then(|(start, end)| Some(hex(start)?..hex(end)?));
                is_it = range.map_or(is_it, |range| range.contains(&address));
                None
            }
        });
        flags.expect("its mapping is listed")
    }

    #[test]
    fn packet_memory_is_not_dumped() {
        for mapping in
            [Mapping::pages(3 * PAGE), Mapping::huge(HUGE_PAGE), Mapping::huge(HUGE_PAGE + 1), Mapping::huge(0)]
        {
            let mapping = mapping.unwrap();
            for at in [0, mapping.len().max(1) - 1] {
                let flags = flags(mapping.base().addr().get() + at);
                assert!(flags.contains(" dd"), "{flags}");
            }
        }
    }

    /// Has `madvise` fail for this advice in this thread, as a filter of a container would.
    fn forbid(forbidden: libc::c_int) {
        const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        // The lower half of the third argument, on machines that store it first.
        let (number, advice) = (offset_of!(libc::seccomp_data, nr), offset_of!(libc::seccomp_data, args) + 16);
        let mut filter = [
            (LOAD, 0, 0, number as u32),
            (IF_EQUAL, 0, 3, libc::SYS_madvise as u32),
            (LOAD, 0, 0, advice as u32),
            (IF_EQUAL, 0, 1, forbidden as u32),
            (RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
            (RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]
        .map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: no argument is an address.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        // SAFETY: the program points to `filter`, which lives until the call returns; the kernel copies it.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn memory_that_would_be_dumped_is_refused() {
        let thread = thread::spawn(|| {
            forbid(libc::MADV_DONTDUMP);
            [Mapping::pages(PAGE), Mapping::huge(HUGE_PAGE)].map(|mapping| mapping.map(|mapping| mapping.len()))
        });
        for refused in thread.join().unwrap() {
            let error = refused.unwrap_err();
            assert!(matches!(&error, RingError::Dumped(source) if source.raw_os_error() == Some(libc::EPERM)));
            assert!(error.to_string().contains("allow madvise"), "{error}");
        }
    }

    /// As in a control group that may have no huge pages: they are mapped, and there are none.
    #[test]
    fn pages_that_are_not_there_are_done_without() {
        // Longer, so it is known from ordinary pages.
        let len = || Mapping::huge_by(HUGE_PAGE, |len| Mapping::map(2 * len, 0)).unwrap().len();
        assert_eq!(len(), 2 * HUGE_PAGE);
        let thread = thread::spawn(move || {
            forbid(libc::MADV_POPULATE_WRITE);
            len()
        });
        assert_eq!(thread.join().unwrap(), HUGE_PAGE);
    }
}
