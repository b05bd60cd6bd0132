//! The kernel for CPUs with AVX2 and BMI2, which have neither masks nor 52-bit multipliers for vectors.
//!
//! Eight blocks of ChaCha20, of whatever messages, are one in each 32-bit lane. Poly1305 is scalar: two messages side
//! by side, in the same stream of instructions as the rounds, on what was encrypted in the pass before. So the hash
//! uses the ports that vector instructions leave idle.
//!
//! In the order in which a batch meets them:
//!
//! - [`mod@cipher`]: from code for any CPU into functions that are compiled for this one;
//! - [`mod@seal`] and [`mod@open`]: what happens in which order;
//! - [`strands`]: which blocks are in the lanes of a pass, and what is hashed beside it;
//! - [`twins`]: the same for messages of one length, planned once for two;
//! - [`machine`]: the plan of a pass, and its making;
//! - [`job`]: a message on its way;
//! - [`pass`]: the assembly, and the types that make it safe to call;
//! - [`hash`]: keys, sums and tags of Poly1305;
//! - [`bytes`]: the ends of messages;
//! - [`scratch`]: memory for all that, and its wiping.
//!
//! The assembly is generated, by `tests/assembly`, where it is explained. A test compares.
//!
//! Nothing depends on a secret in its control flow or in the addresses that it uses; lengths and counts are public.
//! What is done with secrets is additions, multiplications (`mulx`, `imul`), shifts, logic and shuffles of registers,
//! whose time does not depend on their operands.
//!
//! All unsafe code is in [`pass`] and [`bytes`], and two calls in [`mod@cipher`]. It rests on a proof that the CPU has
//! the instructions, and on slices of cells: whatever holds one may read and write all of it.

mod bytes;
mod cipher;
mod hash;
mod job;
mod machine;
mod open;
mod pass;
mod scratch;
mod seal;
mod strands;
mod twins;

#[cfg(test)]
mod tests;

use crate::KEY_LEN;
use crate::cipher::BatchCipher;

/// A proof that the CPU has the instructions: only [`detect`](Self::detect) makes it.
#[derive(Clone, Copy)]
struct Avx2(());

impl Avx2 {
    fn detect() -> Option<Self> {
        missing_features().is_empty().then_some(Self(()))
    }
}

/// What the kernel needs and this CPU does not have.
pub(super) fn missing_features() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !is_x86_feature_detected!("avx2") {
        missing.push("avx2");
    }
    if !is_x86_feature_detected!("bmi2") {
        missing.push("bmi2");
    }
    missing
}

pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2")
}

pub(super) fn cipher(key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    Some(Box::new(cipher::Cipher::new(Avx2::detect()?, key)))
}
