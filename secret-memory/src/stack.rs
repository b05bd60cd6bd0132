//! What computations leave on the stack.

use std::hint::black_box;

/// How much of the stack is overwritten, in bytes. What makes and uses keys goes less deep, also without optimisation:
/// the test `secrets` of the gateway searches what is left.
pub const SCRUBBED: usize = 64 << 10;

/// Calls `work`, and then overwrites the stack that it has used.
///
/// A result that is a secret must be a handle, such as [`Secret`](crate::Secret): it passes through the frame of the
/// caller, which is not overwritten.
#[inline(never)]
pub fn scrubbed<R>(work: impl FnOnce() -> R) -> R {
    let result = apart(work);
    scrub_stack();
    result
}

/// Overwrites the stack below the frame of the caller. What the caller itself, or who was inlined into it, has left in
/// that frame stays: hence [`scrubbed`].
#[inline(never)]
pub fn scrub_stack() {
    let area = [0_u8; SCRUBBED];
    // Whatever looks at the area needs all of it to be zero. So the compiler cannot leave the writing out.
    black_box(&area);
}

/// In a frame of its own, below that of the caller.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    let result = work();
    // Not the last call: that could become a jump, with the frame of the caller.
    black_box(());
    result
}
