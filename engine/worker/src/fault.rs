//! Whose fault a failure is, which decides what the operator is told and the exit status.

/// Who has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator asked for something that cannot be had: another argument helps.
    Request,
    /// The system refuses or lacks something: a permission, a limit, a kernel feature; or took something away.
    System,
    /// A defect of ours, to be reported.
    Bug,
}
