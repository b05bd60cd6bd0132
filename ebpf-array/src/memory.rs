//! The value of a map of one entry, in the memory of both sides.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};

use crate::system::make_map;

/// What a program and a process may share.
///
/// # Safety
/// Each of its bytes is part of an atomic integer, or padding. So any bits are a value, zeros as well, and the other
/// side may change them at any time.
pub unsafe trait Value: Send + Sync {}

/// A value that a program and this process share, or a slice of such values. The kernel keeps its own side for as long
/// as a program needs it.
pub struct Array<T: ?Sized>(NonNull<T>);

// SAFETY: the mapping belongs to this value alone and stays until it is dropped; all that is in it are atomics.
unsafe impl<T: Value> Send for Array<T> {}
// SAFETY: as above.
unsafe impl<T: Value> Sync for Array<T> {}
// SAFETY: as above.
unsafe impl<T: Value> Send for Array<[T]> {}
// SAFETY: as above.
unsafe impl<T: Value> Sync for Array<[T]> {}

impl<T: Value> Array<T> {
    /// Makes a map, all zeros, and maps it. The descriptor is for the program ([`Assembler::new`](crate::Assembler)),
    /// and not needed once that is loaded.
    ///
    /// # Errors
    /// The system's: `EPERM` where `bpf(2)` is not allowed.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        const { assert!(align_of::<T>() <= PAGE, "a mapping begins with a page") };
        let (address, map) = make(size_of::<T>())?;
        Ok((Self(address.cast()), map))
    }
}

impl<T: Value> Array<[T]> {
    /// The same with so many values, at least one.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn with_len(len: usize) -> io::Result<(Self, OwnedFd)> {
        const { assert!(align_of::<T>() <= PAGE, "a mapping begins with a page") };
        let bytes = size_of::<T>().checked_mul(len).ok_or(io::ErrorKind::InvalidInput)?;
        let (address, map) = make(bytes)?;
        Ok((Self(NonNull::slice_from_raw_parts(address.cast(), len)), map))
    }
}

/// The smallest page of any machine.
const PAGE: usize = 4096;

/// A map of one value of so many bytes, which is mapped as a whole.
fn make(bytes: usize) -> io::Result<(NonNull<u8>, OwnedFd)> {
    let map = make_map(bytes)?;
    let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, map.as_raw_fd());
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let address = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap returned the null page"))?;
    Ok((address, map))
}

impl<T: ?Sized> Deref for Array<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is as large as the value, aligned to a page, and lives as long as `self`. The kernel
        // zeroed it, and any bits are a value of this type.
        unsafe { self.0.as_ref() }
    }
}

impl<T: ?Sized> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("len", &size_of_val(&**self)).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Drop for Array<T> {
    fn drop(&mut self) {
        let len = size_of_val(&**self);
        // SAFETY: this is the mapping that was made, at its full length, and no reference into it outlives `self`. The
        // kernel's program has the map for itself.
        unsafe { libc::munmap(self.0.as_ptr().cast(), len) };
    }
}
