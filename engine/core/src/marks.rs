//! The steps by which workers mark something for control on a word, and control takes notice: what
//! [`Activity`](crate::activity::Activity), [`LostSession`](crate::whereabouts::LostSession) and
//! [`Moves`](crate::whereabouts::Moves) are made of.
//!
//! They are generic over the word, and the orderings are theirs. So the code that runs over the processor's atomics is
//! the code that `marks_model.rs` runs over loom's, in every order that the memory model allows.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What an atomic number can do.
pub(crate) trait Number {
    fn load(&self, ordering: Ordering) -> u64;
    fn store(&self, value: u64, ordering: Ordering);
    /// Stores `new` if the number is `seen`. True: it was.
    fn replace(&self, seen: u64, new: u64, ordering: Ordering) -> bool;
}

/// What an atomic flag can do.
pub(crate) trait Flag {
    fn load(&self, ordering: Ordering) -> bool;
    fn store(&self, value: bool, ordering: Ordering);
    fn swap(&self, value: bool, ordering: Ordering) -> bool;
}

/// Raises a flag that control lowers. True for one of all cores: it has to tell control.
///
/// Nothing else is published through it. Who finds it raised may have read an old value: control lowers it, and then
/// acts on what it knew before. So a core that must not be forgotten does something first that has an order with what
/// control does afterwards ([`crate::waiting`]).
#[inline]
pub(crate) fn raise(flag: &impl Flag) -> bool {
    !flag.load(Relaxed) && !flag.swap(true, Relaxed)
}

/// Lowers a flag. A word at rest is not written, so it stays shared between the cores' caches.
pub(crate) fn lower(flag: &impl Flag) {
    if flag.load(Relaxed) {
        flag.store(false, Relaxed);
    }
}

/// Writes down what happened in a word, if that changes it, and then raises the flag of whoever watches the word. True:
/// nobody watches, and control has to be told.
///
/// Control stops watching by lowering the flag after it has read the word. Two cores have no order there: the note is
/// perhaps not seen, and the flag seen as raised. So control looks once more, a little later.
#[inline]
pub(crate) fn note(word: &impl Number, watched: &impl Flag, change: impl FnOnce(u64) -> u64) -> bool {
    let before = word.load(Relaxed);
    let after = change(before);
    if after != before {
        word.store(after, Relaxed);
    }
    raise(watched)
}

/// Marks that something was published elsewhere. True: control has taken all marks so far, and may be asleep.
///
/// Always an operation that writes: a load could find an old mark that control is just taking, while control does not
/// see what was published.
#[inline]
pub(crate) fn publish(mark: &impl Flag) -> bool {
    !mark.swap(true, AcqRel)
}

/// Takes the mark. True: something was published, and what is read from now on is as new as the mark.
pub(crate) fn take(mark: &impl Flag) -> bool {
    mark.load(Acquire) && mark.swap(false, AcqRel)
}

/// Moves a deadline on to `next` if it has passed at `now`. True for one of all cores.
#[inline]
pub(crate) fn pass(deadline: &impl Number, now: u64, next: u64) -> bool {
    let due = deadline.load(Relaxed);
    due <= now && deadline.replace(due, next, Relaxed)
}

impl Number for AtomicU64 {
    #[inline]
    fn load(&self, ordering: Ordering) -> u64 {
        Self::load(self, ordering)
    }

    #[inline]
    fn store(&self, value: u64, ordering: Ordering) {
        Self::store(self, value, ordering);
    }

    #[inline]
    fn replace(&self, seen: u64, new: u64, ordering: Ordering) -> bool {
        self.compare_exchange(seen, new, ordering, Relaxed).is_ok()
    }
}

impl Flag for AtomicBool {
    #[inline]
    fn load(&self, ordering: Ordering) -> bool {
        Self::load(self, ordering)
    }

    #[inline]
    fn store(&self, value: bool, ordering: Ordering) {
        Self::store(self, value, ordering);
    }

    #[inline]
    fn swap(&self, value: bool, ordering: Ordering) -> bool {
        Self::swap(self, value, ordering)
    }
}

#[cfg(test)]
#[path = "marks_model.rs"]
mod model;
