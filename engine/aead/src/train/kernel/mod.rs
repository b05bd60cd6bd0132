//! The kernel: see [`train`](super) for the idea.
//!
//! In the order in which a batch meets them:
//!
//! - [`mod@cipher`]: from code for any CPU into functions that are compiled for this one;
//! - [`batch`]: which blocks are made when, and which tags;
//! - [`order`](super::order): in which order of the messages;
//! - [`pass`]: 32 blocks of any messages, one in each lane;
//! - [`chacha20`]: their key stream;
//! - [`apply`]: which meets the text;
//! - [`poly1305`]: tags, of eight messages at once;
//! - [`vector`]: registers, and what implements them.
//!
//! Nothing depends on a secret in its control flow or in the addresses that it uses; lengths and counts are public.
//! What is done with secrets is additions, multiplications, shifts, logic and shuffles of whole registers, whose time
//! does not depend on their operands.
//!
//! All unsafe code is in the implementations of [`vector`]: loads and stores, and the calls into functions compiled for
//! vector instructions. All of it rests on a proof that the CPU has them.

mod apply;
mod batch;
mod chacha20;
mod cipher;

mod pass;
mod poly1305;
mod vector;

#[cfg(test)]
mod tests;

use crate::KEY_LEN;
use crate::cipher::BatchCipher;
use cipher::Cipher;
#[cfg(any(test, feature = "arrays"))]
use vector::Arrays;
#[cfg(target_arch = "x86_64")]
use vector::Avx512;

#[cfg(target_arch = "x86_64")]
pub(super) fn missing_features() -> Vec<&'static str> {
    Avx512::missing()
}

#[cfg(target_arch = "x86_64")]
pub(super) fn is_supported() -> bool {
    Avx512::detect().is_some()
}

#[cfg(target_arch = "x86_64")]
pub(super) fn cipher(key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    Some(Box::new(Cipher::new(Avx512::detect()?, key)))
}

#[cfg(any(test, feature = "arrays"))]
pub(super) fn cipher_on_arrays(key: &[u8; KEY_LEN]) -> Box<dyn BatchCipher> {
    Box::new(Cipher::new(Arrays, key))
}
