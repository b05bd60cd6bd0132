//! AES-256 in counter mode: the key stream for registers of one message or of several, and how it meets the text.

use super::key::{Key, ROUND_KEYS};
use super::registers::{BLOCK, Registers};

/// Registers that are encrypted at once. A round takes four cycles until the next can begin, and a CPU begins two in
/// each: fewer would leave it idle.
pub(super) const REGISTERS: usize = 8;

/// The counter blocks of one message, as numbers that are [reversed](Registers::reverse): the nonce, which is the
/// message's counter (Noise, section 12.4), and a number of 32 bits (NIST SP 800-38D, section 7.1).
#[derive(Clone, Copy)]
pub(super) struct Counters<V: Registers>(V::Register);

impl<V: Registers> Counters<V> {
    /// The blocks of the text: they begin with number 2.
    #[inline(always)]
    pub(super) fn of_text(v: V, counter: u64) -> Self {
        let block = u128::from(counter) << 32 | 2;
        Self(v.add_32(v.splat(&block), v.each(|lane| lane as u128)))
    }

    /// The next registers of them, ready for the first round.
    #[inline(always)]
    pub(super) fn take<const N: usize>(&mut self, v: V, key: Key<'_>) -> [V::Register; N] {
        let mut blocks = [v.zero(); N];
        let (first_key, step) = (v.splat(&key.rounds[0]), v.each(|_| V::WIDTH as u128));
        for block in &mut blocks {
            *block = v.xor(v.reverse(self.0), first_key);
            self.0 = v.add_32(self.0, step);
        }
        blocks
    }
}

/// All rounds but the last, for `N` registers of each of `M` messages. `beside` is called with the number of each, from
/// 0 on, for what is independent of them and can be done at the same time.
#[inline(always)]
pub(super) fn rounds<const M: usize, const N: usize, V: Registers>(
    v: V,
    key: Key<'_>,
    blocks: &mut [[V::Register; N]; M],
    mut beside: impl FnMut(usize),
) {
    // Spelled out: left to itself, the compiler makes a loop of it, in which each round asks what is beside it.
    macro_rules! unrolled {
        ($($round:literal)*) => {$(
            let round_key = v.splat(&key.rounds[$round + 1]);
            for block in blocks.as_flattened_mut() {
                *block = v.aes_round(*block, round_key);
            }
            beside($round);
        )*};
    }
    unrolled! { 0 1 2 3 4 5 6 7 8 9 10 11 12 }
}

/// The last round, and the text: `apply` gets what has come of it.
#[inline(always)]
pub(super) fn last_round<V: Registers>(v: V, key: Key<'_>, block: V::Register, text: V::Register) -> V::Register {
    // The round ends with the addition of a key: the text is added to it, so nothing waits for that.
    v.aes_last(block, v.xor(v.splat(&key.rounds[ROUND_KEYS - 1]), text))
}

/// Encrypts one block, as a number whose first byte is the lowest.
#[inline(always)]
pub(super) fn encrypt<V: Registers>(v: V, keys: &[u128; ROUND_KEYS], block: u128) -> u128 {
    let mut state = v.xor(v.splat(&block), v.splat(&keys[0]));
    for key in &keys[1..ROUND_KEYS - 1] {
        state = v.aes_round(state, v.splat(key));
    }
    let mut bytes = [0; BLOCK];
    v.store_block(&mut bytes, v.aes_last(state, v.splat(&keys[ROUND_KEYS - 1])));
    u128::from_le_bytes(bytes)
}
