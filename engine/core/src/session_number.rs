//! How the sessions of one peer are numbered.

use crate::part::{Malformed, Part, Reader, Sink};

/// The place of a session among those of one peer, in the order of their initiations: when ours was made, or when
/// theirs was answered. The first is 1.
///
/// Of two that are both ready to send, the one with the higher number does. The end of all sessions takes a number too,
/// so a confirmation which comes late does not bring one of them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionNumber(pub(crate) u64);

impl SessionNumber {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Part for SessionNumber {
    fn put(&self, to: &mut dyn Sink) {
        self.0.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        // So many that no process ever gives the last one.
        let number = u64::take(from)?;
        if number <= u64::MAX / 2 { Ok(Self(number)) } else { Err(from.bad("the number of a session")) }
    }
}
