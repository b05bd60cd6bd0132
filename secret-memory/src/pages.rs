//! Pages of the kernel's: locked, and left out of core dumps.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

static MAPPED: AtomicUsize = AtomicUsize::new(0);
static LOCKED: AtomicUsize = AtomicUsize::new(0);
/// Why the last pages were not locked.
static REFUSAL: AtomicI32 = AtomicI32::new(0);

/// The memory that secrets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// In bytes. It shrinks only by what was on its way to another process.
    pub mapped: usize,
    /// Of these, what the kernel has locked.
    pub locked: usize,
    /// The system's number for why it did not lock the rest.
    pub errno: Option<i32>,
}

/// The memory that secrets have at this moment.
#[must_use]
pub fn footprint() -> Footprint {
    let errno = REFUSAL.load(Ordering::Relaxed);
    let (mapped, locked) = (MAPPED.load(Ordering::Relaxed), LOCKED.load(Ordering::Relaxed));
    Footprint { mapped, locked, errno: (errno != 0).then_some(errno) }
}

/// Locks these pages again, where nothing is locked any more.
pub(crate) fn lock_all(mapped: impl Iterator<Item = (NonNull<u8>, usize)>) {
    LOCKED.store(0, Ordering::Relaxed);
    mapped.for_each(|(base, len)| _ = lock(base, len));
}

/// Maps pages that hold zeros, and says whether they are locked.
///
/// # Panics
/// If the system has no memory, or cannot leave it out of core dumps.
pub(crate) fn map(len: usize) -> (NonNull<u8>, bool) {
    let base = map_plain(len);
    (base, adopt(base, len))
}

/// Locks pages that were mapped elsewhere, and counts them. True: they are locked.
pub(crate) fn adopt(base: NonNull<u8>, len: usize) -> bool {
    MAPPED.fetch_add(len, Ordering::Relaxed);
    lock(base, len)
}

/// Undoes [`map`] or [`adopt`].
///
/// # Safety
/// `base` is of one of these with the same `len`, and nobody uses it.
pub(crate) unsafe fn unmap(base: NonNull<u8>, len: usize, is_locked: bool) {
    MAPPED.fetch_sub(len, Ordering::Relaxed);
    // SAFETY: the caller vouches for it. What was locked is unlocked by that.
    if unsafe { libc::munmap(base.as_ptr().cast(), len) } == 0 && is_locked {
        LOCKED.fetch_sub(len.min(LOCKED.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}

fn map_plain(len: usize) -> NonNull<u8> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
    let base = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED, "no memory for keys: {}", std::io::Error::last_os_error());
    NonNull::new(base.cast()).expect("the kernel maps nothing at the null address")
}

/// Locks pages, and leaves them out of core dumps. Miri knows neither. True: they are locked.
///
/// # Panics
/// If they would be in core dumps: a key must have no place there. The kernel knows the advice since 3.4, so something
/// forbids it.
#[cfg(not(miri))]
fn lock(base: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the range is a mapping of ours; advice changes no content.
    let advised = unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_DONTDUMP) };
    let error = std::io::Error::last_os_error();
    assert_eq!(advised, 0, "keys would be in core dumps ({error}): allow madvise in the seccomp profile");
    // SAFETY: as above; locking changes no content.
    let is_locked = unsafe { libc::mlock(base.as_ptr().cast(), len) } == 0;
    if is_locked {
        LOCKED.fetch_add(len, Ordering::Relaxed);
    } else {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOMEM);
        REFUSAL.store(errno, Ordering::Relaxed);
    }
    is_locked
}

#[cfg(miri)]
fn lock(_: NonNull<u8>, len: usize) -> bool {
    LOCKED.fetch_add(len, Ordering::Relaxed);
    true
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    /// The kernel takes no advice about an address within a page.
    #[test]
    #[should_panic(expected = "keys would be in core dumps")]
    fn pages_that_would_be_dumped_are_not_used() {
        lock(NonNull::<u8>::dangling(), 4096);
    }
}
