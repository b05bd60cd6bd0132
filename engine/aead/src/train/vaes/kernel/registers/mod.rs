//! Registers of whole blocks: what the kernel needs of a CPU's vector instructions. The arithmetic is written once,
//! over this trait.
//!
//! | Implementation | Blocks in a register | For |
//! |---|---|---|
//! | [`Vaes256`] | 2 | x86-64 with AVX2, VAES and VPCLMULQDQ |
//! | [`Vaes512`] | 4 | x86-64 with AVX-512 (F, BW, VL) beside them |
//! | `Arrays` | 2 or 4 | tests on every machine: each instruction, spelled out |
//!
//! A value of such a type is a proof that the CPU has the instructions: it can only be had where they are. That makes
//! every method safe to call.
//!
//! A block is also a number of 128 bits, its first byte the lowest. A block is a *lane* of its register.
//!
//! As in the kernel for ChaCha20-Poly1305, all code over the trait is `inline(always)`, and
//! [`run`](Registers::run) makes the function that is compiled for the CPU.

#[cfg(any(test, feature = "arrays"))]
mod arrays;
mod prefix;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod vaes256;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod vaes512;

#[cfg(test)]
mod tests;

use secret_memory::Secret;

#[cfg(any(test, feature = "arrays"))]
pub(super) use arrays::Arrays;
#[cfg(test)]
pub(super) use tests::{lanes, over_all};
#[cfg(target_arch = "x86_64")]
pub(super) use vaes256::Vaes256;
#[cfg(target_arch = "x86_64")]
pub(super) use vaes512::Vaes512;

/// Bytes of a block of AES.
pub(in crate::train::vaes) const BLOCK: usize = 16;

/// Registers of [`WIDTH`](Self::WIDTH) blocks.
pub(in crate::train::vaes) trait Registers: Copy + Send + Sync + 'static {
    /// That many blocks.
    type Register: Copy;
    /// The numbers that a key expands to: see [`table_len`](super::key::table_len).
    type Table: AsRef<[u128]> + AsMut<[u128]> + Send + Sync;

    /// Blocks in a register.
    const WIDTH: usize;
    /// Bytes in a register.
    const BYTES: usize = Self::WIDTH * BLOCK;

    /// A table of zeros.
    fn table(self) -> Secret<Self::Table>;
    /// Calls `work`, which is `inline(always)`, from a function of its own that is compiled for the instructions.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;

    /// Zeros.
    fn zero(self) -> Self::Register;
    /// The same number in each lane.
    fn splat(self, number: &u128) -> Self::Register;
    /// In each lane the number that `number` gives for it.
    fn each(self, number: impl Fn(usize) -> u128) -> Self::Register;
    /// The first numbers of a slice, which has enough.
    fn numbers(self, numbers: &[u128]) -> Self::Register;
    /// The first bytes of a slice, which has enough.
    fn load(self, bytes: &[u8]) -> Self::Register;
    /// A register into the first bytes of a slice, which has enough.
    fn store(self, bytes: &mut [u8], a: Self::Register);
    /// The bytes of a slice of at most a register, zeros behind them. No others are touched.
    fn load_prefix(self, bytes: &[u8]) -> Self::Register;
    /// As many bytes as the slice has, at most a register. No others are touched.
    fn store_prefix(self, bytes: &mut [u8], a: Self::Register);
    /// The first `len` bytes, zeros behind them.
    fn keep_prefix(self, a: Self::Register, len: usize) -> Self::Register;
    /// A block into the first lane, zeros in the others.
    fn load_block(self, block: &[u8; BLOCK]) -> Self::Register;
    /// The first lane.
    fn store_block(self, block: &mut [u8; BLOCK], a: Self::Register);

    /// Exclusive or.
    fn xor(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// Exclusive or of three.
    fn xor_3(self, a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register;
    /// Of each 32-bit word the sum, modulo 2^32.
    fn add_32(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// The bytes of each lane in reverse.
    fn reverse(self, a: Self::Register) -> Self::Register;
    /// The halves of each lane exchanged.
    fn swap_halves(self, a: Self::Register) -> Self::Register;
    /// The sum of all lanes in the first, zeros in the others.
    fn sum_lanes(self, a: Self::Register) -> Self::Register;

    /// A round of AES in each lane: `SubBytes`, `ShiftRows`, `MixColumns`, `AddRoundKey` (FIPS 197, section 5.1).
    fn aes_round(self, a: Self::Register, key: Self::Register) -> Self::Register;
    /// The last round, which has no `MixColumns`.
    fn aes_last(self, a: Self::Register, key: Self::Register) -> Self::Register;
    /// In each lane the product without carries of the lower halves.
    fn multiply_low(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// Of the upper halves.
    fn multiply_high(self, a: Self::Register, b: Self::Register) -> Self::Register;
}
