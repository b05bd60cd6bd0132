//! What a key expands to: the round keys of AES-256, and powers of H for GHASH.
//!
//! ```text
//! ├──── 15 ────┤├───────── powers_len ─────────┤├───────── powers_len ─────────┤
//! [ round keys ][ H^most … H^2 H^1  0 …        ][ the same, halves added up     ]
//! ```

use secret_memory::Secret;

use super::ghash;
use super::registers::Registers;
use super::stream::{REGISTERS, encrypt};
use crate::KEY_LEN;

/// Round keys of AES-256: fourteen rounds, and the key that comes before them (FIPS 197, section 5).
pub(super) const ROUND_KEYS: usize = 15;

/// Blocks that one reduction takes: as many as are encrypted at once, and the lengths.
const fn blocks_max(width: usize) -> usize {
    REGISTERS * width + 1
}

/// Powers of H, and zeros for what lies behind the last block in its register: it may be the register's first.
const fn powers_len(width: usize) -> usize {
    blocks_max(width) + width - 1
}

/// Numbers in the table of a key, for registers of `width` blocks.
pub(super) const fn table_len(width: usize) -> usize {
    ROUND_KEYS + 2 * powers_len(width)
}

/// The table of a key, in its parts.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    /// As AES takes them: the first byte is the lowest.
    pub(super) rounds: &'k [u128; ROUND_KEYS],
    /// As GHASH takes them: see [`ghash`].
    powers: &'k [u128],
    /// Of each of them the sum of its halves, in the lower half.
    folded: &'k [u128],
    blocks_max: usize,
}

/// The powers for some registers of blocks that are added to one sum.
#[derive(Clone, Copy)]
pub(super) struct Powers<'k> {
    pub(super) plain: &'k [u128],
    pub(super) folded: &'k [u128],
}

impl<'k> Key<'k> {
    /// The parts of an expanded key.
    #[inline(always)]
    pub(super) fn of<V: Registers>(table: &'k V::Table) -> Self {
        let (rounds, rest) = table.as_ref().split_first_chunk().expect("a table has more than the round keys");
        let (powers, rest) = rest.split_at(powers_len(V::WIDTH));
        let (folded, _) = rest.split_at(powers_len(V::WIDTH));
        Self { rounds, powers, folded, blocks_max: blocks_max(V::WIDTH) }
    }

    /// The powers for `N` registers of blocks of which the first is multiplied by H^`first`, the next one by one power
    /// less, and so on.
    #[inline(always)]
    pub(super) fn powers_from<const N: usize, V: Registers>(self, first: usize) -> Powers<'k> {
        let range = self.blocks_max - first..self.blocks_max - first + N * V::WIDTH;
        Powers { plain: &self.powers[range.clone()], folded: &self.folded[range] }
    }
}

/// Expands a key, in the place where it stays.
#[inline(always)]
pub(super) fn expand<V: Registers>(v: V, key: &[u8; KEY_LEN]) -> Secret<V::Table> {
    let mut table = v.table();
    let places = table.expose_mut().as_mut();
    let (rounds, powers) = places.split_first_chunk_mut().expect("a table has more than the round keys");
    expand_rounds(v, key, rounds);
    let h = encrypt(v, rounds, 0);
    expand_powers(v, ghash::times_x(h.swap_bytes()), powers);
    table
}

/// The key schedule (FIPS 197, section 5.2): each round key is made of the two before it.
#[inline(always)]
fn expand_rounds<V: Registers>(v: V, key: &[u8; KEY_LEN], rounds: &mut [u128; ROUND_KEYS]) {
    let (halves, _) = key.as_chunks();
    rounds[0] = u128::from_le_bytes(halves[0]);
    rounds[1] = u128::from_le_bytes(halves[1]);
    let mut constant = 1;
    for index in 2..ROUND_KEYS {
        let last = (rounds[index - 1] >> 96) as u32;
        let mut word = if index % 2 == 0 {
            constant <<= 1;
            substitute(v, last).rotate_right(8) ^ (constant >> 1)
        } else {
            substitute(v, last)
        };
        let mut made = 0;
        for place in 0..4 {
            word ^= (rounds[index - 2] >> (32 * place)) as u32;
            made |= u128::from(word) << (32 * place);
        }
        rounds[index] = made;
    }
}

/// `SubWord` (FIPS 197, section 5.2), by the instruction for the last round: `ShiftRows` changes nothing in a block of
/// four equal columns.
#[inline(always)]
fn substitute<V: Registers>(v: V, word: u32) -> u32 {
    let mut block = [0; 16];
    let columns = u128::from(word) * 0x0000_0001_0000_0001_0000_0001_0000_0001;
    v.store_block(&mut block, v.aes_last(v.splat(&columns), v.zero()));
    u128::from_le_bytes(block) as u32
}

/// Powers of H from the greatest on, then those with their halves added up.
#[inline(always)]
fn expand_powers<V: Registers>(v: V, h: u128, places: &mut [u128]) {
    let (powers, folded) = places.split_at_mut(powers_len(V::WIDTH));
    let greatest = blocks_max(V::WIDTH);
    let mut power = h;
    for exponent in 1..=greatest {
        let place = greatest - exponent;
        powers[place] = power;
        folded[place] = (power ^ power >> 64) & u128::from(u64::MAX);
        power = ghash::multiply(v, power, h);
    }
}
