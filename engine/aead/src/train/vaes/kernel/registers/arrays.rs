//! Arrays in place of registers: what the instructions do, spelled out for any CPU.
//!
//! A test vehicle, not a cipher for users: its tables make its time depend on the key. AES is done by the columns of
//! FIPS 197, with `SubBytes` and `MixColumns` in one table. Each operation is a function that is not inlined: the
//! kernel is thousands of them, and inlined they would take a minute to compile.

use std::array::from_fn;

use secret_memory::Secret;

use super::super::key::table_len;
use super::{BLOCK, Registers};

/// Needs nothing of the CPU. `WIDTH` blocks are a register.
#[derive(Clone, Copy, Debug)]
pub(in crate::train::vaes) struct Arrays<const WIDTH: usize>;

/// Times x in the field of AES: modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, section 4.2.1).
const fn times_x(a: u8) -> u8 {
    (a << 1) ^ ((a >> 7) * 0x1b)
}

/// The substitution of bytes (FIPS 197, section 5.1.1): p runs through all powers of x + 1, and q through their
/// inverses.
const SUBSTITUTES: [u8; 256] = {
    let mut table = [0x63; 256];
    let (mut p, mut q) = (1u8, 1u8);
    let mut is_done = false;
    while !is_done {
        p ^= times_x(p);
        q ^= q << 1;
        q ^= q << 2;
        q ^= q << 4;
        q ^= (q >> 7) * 0x09;
        let rotated = q.rotate_left(1) ^ q.rotate_left(2) ^ q.rotate_left(3) ^ q.rotate_left(4);
        table[p as usize] = q ^ rotated ^ 0x63;
        is_done = p == 1;
    }
    table
};

/// What a byte of the first row becomes: its column of `MixColumns`. For the other rows it is rotated.
static COLUMNS: [u32; 256] = {
    let mut columns = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let s = SUBSTITUTES[byte];
        columns[byte] = u32::from_le_bytes([times_x(s), s, s, times_x(s) ^ s]);
        byte += 1;
    }
    columns
};

/// The four bytes that `ShiftRows` brings into a column, the first row's first.
#[inline(always)]
fn shifted(block: u128, column: usize) -> [u8; 4] {
    let bytes = block.to_le_bytes();
    from_fn(|row| bytes[4 * ((column + row) % 4) + row])
}

fn of_columns(column: impl Fn(usize) -> u32) -> u128 {
    (0..4).fold(0, |block, place| block | u128::from(column(place)) << (32 * place))
}

fn round(block: u128) -> u128 {
    of_columns(|column| {
        let bytes = shifted(block, column);
        (0..4).fold(0, |sum, row| sum ^ COLUMNS[usize::from(bytes[row])].rotate_left(8 * row as u32))
    })
}

fn last_round(block: u128) -> u128 {
    of_columns(|column| u32::from_le_bytes(shifted(block, column).map(|byte| SUBSTITUTES[usize::from(byte)])))
}

/// The product without carries, four bits of `b` at a time.
fn multiply(a: u64, b: u64) -> u128 {
    let mut multiples = [0u128; 16];
    for bits in 1..16 {
        let half = multiples[bits / 2] << 1;
        multiples[bits] = if bits % 2 == 1 { half ^ u128::from(a) } else { half };
    }
    (0..16).rev().fold(0, |product, place| product << 4 ^ multiples[(b >> (4 * place) & 15) as usize])
}

impl<const WIDTH: usize> Arrays<WIDTH> {
    #[inline(always)]
    fn zip(a: [u128; WIDTH], b: [u128; WIDTH], operation: impl Fn(u128, u128) -> u128) -> [u128; WIDTH] {
        from_fn(|lane| operation(a[lane], b[lane]))
    }
}

impl<const WIDTH: usize> Registers for Arrays<WIDTH> {
    type Register = [u128; WIDTH];
    // What the widest needs.
    type Table = [u128; table_len(4)];

    const WIDTH: usize = WIDTH;

    fn table(self) -> Secret<Self::Table> {
        const { assert!(WIDTH <= 4) };
        Secret::zeroed()
    }

    #[inline(never)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }

    #[inline(never)]
    fn zero(self) -> Self::Register {
        [0; WIDTH]
    }

    #[inline(never)]
    fn splat(self, number: &u128) -> Self::Register {
        [*number; WIDTH]
    }

    #[inline(never)]
    fn each(self, number: impl Fn(usize) -> u128) -> Self::Register {
        from_fn(number)
    }

    #[inline(never)]
    fn numbers(self, numbers: &[u128]) -> Self::Register {
        *numbers.first_chunk().expect("enough numbers")
    }

    #[inline(never)]
    fn load(self, bytes: &[u8]) -> Self::Register {
        self.load_prefix(&bytes[..Self::BYTES])
    }

    #[inline(never)]
    fn store(self, bytes: &mut [u8], a: Self::Register) {
        self.store_prefix(&mut bytes[..Self::BYTES], a);
    }

    #[inline(never)]
    fn load_prefix(self, bytes: &[u8]) -> Self::Register {
        assert!(bytes.len() <= Self::BYTES);
        let mut register = [0; WIDTH];
        for (number, bytes) in register.iter_mut().zip(bytes.chunks(BLOCK)) {
            let mut block = [0; BLOCK];
            block[..bytes.len()].copy_from_slice(bytes);
            *number = u128::from_le_bytes(block);
        }
        register
    }

    #[inline(never)]
    fn store_prefix(self, bytes: &mut [u8], a: Self::Register) {
        assert!(bytes.len() <= Self::BYTES);
        for (number, bytes) in a.iter().zip(bytes.chunks_mut(BLOCK)) {
            bytes.copy_from_slice(&number.to_le_bytes()[..bytes.len()]);
        }
    }

    #[inline(never)]
    fn keep_prefix(self, a: Self::Register, len: usize) -> Self::Register {
        from_fn(|lane| match len.saturating_sub(lane * BLOCK) {
            BLOCK.. => a[lane],
            bytes => a[lane] & ((1 << (8 * bytes)) - 1),
        })
    }

    #[inline(never)]
    fn load_block(self, block: &[u8; BLOCK]) -> Self::Register {
        self.load_prefix(block)
    }

    #[inline(never)]
    fn store_block(self, block: &mut [u8; BLOCK], a: Self::Register) {
        *block = a[0].to_le_bytes();
    }

    #[inline(never)]
    fn xor(self, a: Self::Register, b: Self::Register) -> Self::Register {
        Self::zip(a, b, |a, b| a ^ b)
    }

    #[inline(never)]
    fn xor_3(self, a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register {
        self.xor(self.xor(a, b), c)
    }

    #[inline(never)]
    fn add_32(self, a: Self::Register, b: Self::Register) -> Self::Register {
        Self::zip(a, b, |a, b| of_columns(|word| ((a >> (32 * word)) as u32).wrapping_add((b >> (32 * word)) as u32)))
    }

    #[inline(never)]
    fn reverse(self, a: Self::Register) -> Self::Register {
        a.map(u128::swap_bytes)
    }

    #[inline(never)]
    fn swap_halves(self, a: Self::Register) -> Self::Register {
        a.map(|number| number.rotate_left(64))
    }

    #[inline(never)]
    fn sum_lanes(self, a: Self::Register) -> Self::Register {
        let sum = a.iter().fold(0, |sum, number| sum ^ number);
        from_fn(|lane| if lane == 0 { sum } else { 0 })
    }

    #[inline(never)]
    fn aes_round(self, a: Self::Register, key: Self::Register) -> Self::Register {
        Self::zip(a, key, |block, key| round(block) ^ key)
    }

    #[inline(never)]
    fn aes_last(self, a: Self::Register, key: Self::Register) -> Self::Register {
        Self::zip(a, key, |block, key| last_round(block) ^ key)
    }

    #[inline(never)]
    fn multiply_low(self, a: Self::Register, b: Self::Register) -> Self::Register {
        Self::zip(a, b, |a, b| multiply(a as u64, b as u64))
    }

    #[inline(never)]
    fn multiply_high(self, a: Self::Register, b: Self::Register) -> Self::Register {
        Self::zip(a, b, |a, b| multiply((a >> 64) as u64, (b >> 64) as u64))
    }
}
