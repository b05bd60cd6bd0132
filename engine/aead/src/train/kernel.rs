//! The kernel: see [`train`](super) for the idea.
//!
//! In the order in which a batch meets them:
//!
//! - [`mod@cipher`]: from code for any CPU into functions that are compiled for this one;
//! - [`batch`]: which blocks are made when, and which tags;
//! - [`order`]: in which order of the messages;
//! - [`pass`]: 32 blocks of any messages, one in each lane;
//! - [`chacha20`]: their key stream;
//! - [`apply`]: which meets the text;
//! - [`poly1305`]: tags, of eight messages at once;
//! - [`vector`]: loads and stores.
//!
//! Nothing depends on a secret in its control flow or in the addresses that it uses; lengths and counts are public. What is done
//! with secrets is additions, multiplications, shifts, logic and shuffles of whole registers, whose time does not depend on
//! their operands.
//!
//! Unsafe are only loads and stores, one each in [`vector`], and the calls into functions compiled for AVX-512, which all
//! rest on a [`Features`].

mod apply;
mod batch;
mod chacha20;
mod cipher;
mod features;
mod order;
mod pass;
mod poly1305;
mod vector;

#[cfg(test)]
mod tests;

use crate::KEY_LEN;
use crate::cipher::BatchCipher;
use cipher::Cipher;
use features::Features;

pub(super) fn missing_features() -> Vec<&'static str> {
    features::missing()
}

pub(super) fn is_supported() -> bool {
    Features::detect().is_some()
}

pub(super) fn cipher(key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    Some(Box::new(Cipher::new(Features::detect()?, key)))
}
