//! The steps that several cores take on one word at the same time.
//!
//! They are generic over the word. So the code that [`crate::cell`] runs over `arc-swap` and the processor's atomics is
//! the code that `shared_model.rs` runs over loom's, in every order that the memory model allows.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};

/// A pointer that any core reads and replaces. What it points to never changes.
///
/// A load acquires, a replacement acquires and releases. All replacements of one pointer have one order. A guard keeps
/// its value alive, and so no other value takes its address.
pub(crate) trait Pointer<T> {
    /// What was loaded.
    type Guard: Deref<Target = Option<Arc<T>>>;

    /// The value now, or one from a moment ago.
    fn load(&self) -> Self::Guard;

    /// Stores `new` if the pointer is still `seen`, else returns what it is.
    fn replace(&self, seen: &Self::Guard, new: Arc<T>) -> Result<(), Self::Guard>;
}

/// A number that only rises.
pub(crate) trait Highest {
    /// The number now. Acquires.
    fn get(&self) -> u64;

    /// Raises it to `number`, unless it is that high already. Releases.
    fn raise(&self, number: u64);
}

/// Who waits: a bit for each.
pub(crate) trait Bits {
    /// The bits, or those from a moment ago.
    fn bits(&self) -> u64;

    /// Sets bits, and returns what they were. Acquires and releases.
    fn set_bits(&self, bits: u64) -> u64;

    /// Clears all, and returns what they were. Acquires and releases.
    fn take_bits(&self) -> u64;
}

/// What has a place in an order.
pub(crate) trait Numbered {
    /// The place. Two values of one cell never have the same.
    fn number(&self) -> u64;
}

/// Replaces the value by one with a higher number, never by one with a lower. True if `new` was stored.
pub(crate) fn advance<T: Numbered>(pointer: &impl Pointer<T>, new: Arc<T>) -> bool {
    let mut now = pointer.load();
    while now.as_ref().is_none_or(|value| value.number() < new.number()) {
        match pointer.replace(&now, new.clone()) {
            Ok(()) => return true,
            Err(other) => now = other,
        }
    }
    false
}

/// Raises `confirmed` to the number of `new`, then advances to it: who sees `new` sees that it is confirmed.
pub(crate) fn confirm_and_advance<T: Numbered>(
    confirmed: &impl Highest,
    pointer: &impl Pointer<T>,
    new: Arc<T>,
) -> bool {
    confirmed.raise(new.number());
    advance(pointer, new)
}

/// Changes `seen` into `new`, unless the value is another one by now. True if it was changed.
pub(crate) fn change<T: PartialEq>(pointer: &impl Pointer<T>, seen: &T, new: T) -> bool {
    let now = pointer.load();
    now.as_deref() == Some(seen) && pointer.replace(&now, Arc::new(new)).is_ok()
}

/// Enters a waiter, who then looks once more for what it waits for. False: it is entered, so whoever has not taken it
/// yet will. Who takes afterwards is heard of: what is heard by then makes an old bit invisible.
#[inline]
pub(crate) fn enter(bits: &impl Bits, own: u64) -> bool {
    bits.bits() & own == 0 && bits.set_bits(own) & own == 0
}

/// Takes all who wait, after what they wait for was made.
pub(crate) fn take(bits: &impl Bits) -> u64 {
    // Always an operation that writes: a load could miss who is just entering, and be missed by it.
    bits.take_bits()
}

impl<T> Pointer<T> for ArcSwapOption<T> {
    type Guard = Guard<Option<Arc<T>>>;

    #[inline]
    fn load(&self) -> Self::Guard {
        ArcSwapOption::load(self)
    }

    fn replace(&self, seen: &Self::Guard, new: Arc<T>) -> Result<(), Self::Guard> {
        let before = self.compare_and_swap(&**seen, Some(new));
        let address = |value: &Option<Arc<T>>| value.as_ref().map(Arc::as_ptr);
        if address(&before) == address(seen) { Ok(()) } else { Err(before) }
    }
}

impl Highest for AtomicU64 {
    fn get(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn raise(&self, number: u64) {
        self.fetch_max(number, Ordering::AcqRel);
    }
}

impl Bits for AtomicU64 {
    #[inline]
    fn bits(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn set_bits(&self, bits: u64) -> u64 {
        self.fetch_or(bits, Ordering::AcqRel)
    }

    fn take_bits(&self) -> u64 {
        self.swap(0, Ordering::AcqRel)
    }
}

#[cfg(test)]
#[path = "shared_model.rs"]
mod model;
