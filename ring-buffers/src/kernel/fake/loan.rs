//! A view in an operation that no kernel ever sees.

use crate::view::{Lent, View};

/// A view that counts as the kernel's, though nothing was submitted. So a test can take it back whenever it wants to.
///
/// Dropped, it loses its slot, as does everything that is lent and has not come back.
#[derive(Debug)]
#[must_use = "its slot comes back by `take_back`"]
pub struct Loan(Lent);

impl Loan {
    /// Lends a view.
    pub fn of(view: View) -> Self {
        Self(view.lend())
    }

    /// Bytes of the view.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "what is lent is a range for the kernel, not a collection")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The operation has ended.
    #[must_use]
    pub fn take_back(self) -> View {
        // SAFETY: nothing gives out where the bytes are, so nothing was submitted that uses them.
        unsafe { self.0.settle() }
    }
}
