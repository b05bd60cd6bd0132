//! Places for keys, and the wiping of what is left of them on a stack.
//!
//! A [`Secret`] is a box in pages of its own. These pages are locked, so they never reach a swap device, and left out
//! of core dumps. A value is made in its place and stays there: what is moved is its address. When it is dropped, its
//! place is wiped.
//!
//! ```text
//!   chunk  64 KiB, mapped once, locked, never given back
//!   ├─ slab  2 KiB ┬─ header: which cells are taken ─┬─ cell ─┬─ cell ─┬─ ⋯ 63 cells of 32 bytes
//!   ├─ slab        └─────────────────────────────────┴────────┴────────┴─
//!   ⋮
//! ```
//!
//! Values of 33 bytes and more have several cells side by side. Taking and releasing cells takes no lock: a thread that
//! drops a key never waits for another one.
//!
//! A secret that was computed has also been on the stack, in registers that were saved there, and in the libraries that
//! computed it. [`scrubbed`] calls a function, and then overwrites the stack that the function has used.
//!
//! [`SecretFile`] gives secrets to another process, and [`SecretBytes`] takes them.
//!
//! Where the limit on locked memory is too low, places are not locked, and [`footprint`] says so. The limit is compared
//! with what `mlock` alone has locked: io_uring counts its memory against the same limit, but not in the same sum.

mod pages;
mod slab;
mod stack;
mod transfer;

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use zerocopy::FromZeros;
use zeroize::Zeroize;

pub use pages::{Footprint, footprint};
pub use slab::lock_again;
pub use stack::{SCRUBBED, scrub_stack, scrubbed};
pub use transfer::{SecretBytes, SecretFile};

/// A value in a place of its own, which is wiped when it is dropped. `Debug` shows nothing of it, and it is not
/// `Clone`: a copy must be wanted.
pub struct Secret<T> {
    place: NonNull<T>,
}

// SAFETY: a secret owns its value as a box does, and cells are taken and released by atomic operations.
unsafe impl<T: Send> Send for Secret<T> {}
// SAFETY: as above; `&Secret` gives nothing but `&T`.
unsafe impl<T: Sync> Sync for Secret<T> {}

impl<T> Secret<T> {
    const FITS: () = assert!(
        size_of::<T>() <= slab::VALUE_LEN_MAX && align_of::<T>() <= slab::CELL_LEN,
        "a secret fits into the cells of a slab"
    );

    /// Moves a value into a place. The caller scrubs the stack that it was made on; see [`scrubbed`].
    #[must_use]
    pub fn new(value: T) -> Self {
        let place = Self::claim();
        // SAFETY: the place is as large and as aligned as the value, and nobody else has it.
        unsafe { place.write(value) };
        Self { place }
    }

    /// The value, for as long as it takes to use it.
    #[must_use]
    #[inline]
    pub fn expose(&self) -> &T {
        // SAFETY: the place holds a value since the secret was made, and nobody changes it without `&mut self`.
        unsafe { self.place.as_ref() }
    }

    /// The value, to be changed in its place.
    #[inline]
    pub fn expose_mut(&mut self) -> &mut T {
        // SAFETY: as in `expose`, and `&mut self` is the only way to it.
        unsafe { self.place.as_mut() }
    }

    fn claim() -> NonNull<T> {
        const { Self::FITS };
        slab::claim(size_of::<T>()).cast()
    }
}

impl<T: FromZeros> Secret<T> {
    /// A value of zeros, to be filled in its place.
    #[must_use]
    pub fn zeroed() -> Self {
        // Free cells are zero, and for this type that is a value.
        Self { place: Self::claim() }
    }
}

impl<const N: usize> Secret<[u8; N]> {
    /// A copy of these bytes. Whoever owns them wipes them.
    #[must_use]
    pub fn copy_of(bytes: &[u8; N]) -> Self {
        let mut secret = Self::zeroed();
        secret.expose_mut().copy_from_slice(bytes);
        secret
    }
}

impl<T> Drop for Secret<T> {
    fn drop(&mut self) {
        // SAFETY: the value is there, and nobody uses it any more.
        unsafe { self.place.drop_in_place() };
        // SAFETY: these bytes are the place of the value that was, they are writable and ours.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.place.as_ptr().cast::<MaybeUninit<u8>>(), size_of::<T>()) };
        wipe(bytes);
        // SAFETY: the place is of `claim` with this length, and it holds zeros.
        unsafe { slab::release(self.place.cast(), size_of::<T>()) };
    }
}

/// A value may have padding, which is not initialised: so it is not read, only written.
fn wipe(bytes: &mut [MaybeUninit<u8>]) {
    bytes.zeroize();
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests;
