//! A call that is allowed with some arguments only, and what that depends on.

use libc::c_long;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

/// What filters depend on, beside the role.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// What would be refused is carried out, and only logged.
    pub reports: bool,
    /// Paths are fenced in, so a thread may be let remove one that otherwise touches none.
    pub is_fenced: bool,
    /// For the roles in `Role::OF_NAMES`: the process is another user than it was started as, and not root.
    pub is_somebody_else: bool,
}

/// On the argument of this number, from 0.
pub(super) struct Condition(pub u8, pub SeccompCmpArgLen, pub SeccompCmpOp, pub u64);

/// A call, and conditions that must all hold.
pub(super) type Rule = (c_long, Vec<Condition>);

impl Condition {
    /// As the compiler takes it.
    ///
    /// # Errors
    /// The compiler's.
    pub(super) fn compile(self) -> Result<SeccompCondition, BackendError> {
        SeccompCondition::new(self.0, self.1, self.2, self.3)
    }
}
