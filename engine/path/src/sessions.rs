//! The receiving halves that this worker owns, by receiver index.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::Receiver;

/// Indices are random numbers of our own choosing: one multiplication spreads them, and nobody else can aim at it.
#[derive(Default)]
pub(crate) struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    #[inline]
    fn write_u32(&mut self, index: u32) {
        self.0 = (self.0 ^ u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Receiver index → session.
pub(crate) type Sessions = HashMap<u32, Box<Receiver>, BuildHasherDefault<IndexHasher>>;
