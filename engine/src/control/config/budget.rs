//! How much a step of applying a request may do.

/// Changes that a step may still make.
#[derive(Debug)]
pub struct Budget(usize);

impl Budget {
    /// So many.
    pub const fn new(changes: usize) -> Self {
        Self(changes)
    }

    /// How many.
    pub const fn left(&self) -> usize {
        self.0
    }

    /// So many are made.
    pub const fn spend(&mut self, changes: usize) {
        self.0 = self.0.saturating_sub(changes);
    }
}
