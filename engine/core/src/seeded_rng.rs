//! A random source that one number determines: for the tests of this crate, and for those of `engine/path`, which
//! include this file.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

use crate::crypto::hash;

/// The source: blocks of a hash.
pub(crate) struct SeededRng {
    seed: u64,
    block: u64,
}

impl SeededRng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, block: 0 }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let Ok(()) = self.try_fill_bytes(&mut bytes);
        bytes
    }
}

impl TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        for chunk in destination.chunks_mut(32) {
            let block = hash(&[&self.seed.to_le_bytes(), &self.block.to_le_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.block += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}
