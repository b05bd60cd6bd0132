//! A random source that one number determines: xoshiro256++, started by SplitMix64. Nobody but a test may use it.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// The random source of one part of a run. Parts do not disturb each other's sequence: each has its own.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

/// One step of SplitMix64: also a good hash of a number.
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The source that `seed` determines, for the purpose that `label` names.
    #[must_use]
    pub fn new(seed: u64, label: u64) -> Self {
        let start = mix(seed) ^ mix(label).rotate_left(17);
        Self([1, 2, 3, 4].map(|n| mix(start.wrapping_add(n))))
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `n`, which is not 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        // The high half of a product: no division, and a bias that no test notices.
        ((self.next() as u128 * n as u128) >> 64) as u64
    }

    /// A number from `low` on, below `high`.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// True with a chance of `of_256` in 256. Without a chance nothing is drawn.
    pub const fn chance(&mut self, of_256: u8) -> bool {
        of_256 > 0 && self.next() >> 56 < of_256 as u64
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// An index below `n`.
    pub const fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        for chunk in destination.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

// The device asks for a source that is fit for keys. Here keys must be known to whoever has the seed.
impl TryCryptoRng for Rng {}
