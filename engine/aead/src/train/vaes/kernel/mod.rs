//! The kernel: see [`vaes`](super) for the idea.
//!
//! In the order in which a batch meets them:
//!
//! - [`mod@cipher`]: from code for any CPU into functions that are compiled for this one;
//! - [`key`]: round keys, and powers of H;
//! - [`mod@seal`] and [`mod@open`]: what is encrypted and hashed when;
//! - [`masks`]: the block of each message that hides its tag;
//! - [`walk`]: which messages are worked on side by side;
//! - [`stream`]: counters, and the rounds of AES;
//! - [`ghash`]: the sum that becomes the tag;
//! - [`registers`]: what implements all that.
//!
//! Nothing depends on a secret in its control flow or in the addresses that it uses; lengths, counts and whether a
//! message is genuine are public. What is done with secrets is rounds of AES, products, shifts, logic and shuffles of
//! whole registers, whose time does not depend on their operands. The registers for tests are an exception, and say so.
//!
//! All unsafe code is in the implementations of [`registers`]: loads and stores, and the calls into functions compiled
//! for vector instructions. All of it rests on a proof that the CPU has them.

mod cipher;
mod ghash;
mod key;
mod masks;
mod open;
mod registers;
mod seal;
mod stream;
mod walk;

#[cfg(test)]
mod tests;

use super::Width;
use crate::KEY_LEN;
use crate::cipher::BatchCipher;
use cipher::Cipher;
#[cfg(any(test, feature = "arrays"))]
use registers::Arrays;
#[cfg(target_arch = "x86_64")]
use registers::{Vaes256, Vaes512};

#[cfg(target_arch = "x86_64")]
pub(super) fn missing_features(width: Width) -> Vec<&'static str> {
    match width {
        Width::Two => Vaes256::missing(),
        Width::Four => Vaes512::missing(),
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn is_supported(width: Width) -> bool {
    match width {
        Width::Two => Vaes256::detect().is_some(),
        Width::Four => Vaes512::detect().is_some(),
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn cipher(width: Width, key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    Some(match width {
        Width::Two => Box::new(Cipher::new(Vaes256::detect()?, key)),
        Width::Four => Box::new(Cipher::new(Vaes512::detect()?, key)),
    })
}

#[cfg(any(test, feature = "arrays"))]
pub(super) fn cipher_on_arrays(width: Width, key: &[u8; KEY_LEN]) -> Box<dyn BatchCipher> {
    match width {
        Width::Two => Box::new(Cipher::new(Arrays::<2>, key)),
        Width::Four => Box::new(Cipher::new(Arrays::<4>, key)),
    }
}
