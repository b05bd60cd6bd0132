//! Up to 16 bytes as a number, without a look at the bytes beside them. By a word or two, as a copy of a length that is
//! only known now would be a call.

use super::BLOCK;

/// The bytes of a slice of at most 16, the first the lowest; zeros behind them.
#[inline(always)]
pub(super) fn load(bytes: &[u8]) -> u128 {
    let len = bytes.len();
    if let Some((low, _)) = bytes.split_first_chunk::<8>() {
        let Some((_, high)) = bytes.split_last_chunk::<8>() else { unreachable!("there are eight bytes") };
        // The last eight bytes overlap the first eight, by `16 - len`.
        let high = u128::from(u64::from_le_bytes(*high)) << 64 >> (8 * (BLOCK - len)) >> 64 << 64;
        return high | u128::from(u64::from_le_bytes(*low));
    }
    if let Some((low, _)) = bytes.split_first_chunk::<4>() {
        let Some((_, high)) = bytes.split_last_chunk::<4>() else { unreachable!("there are four bytes") };
        let high = u64::from(u32::from_le_bytes(*high)) << (8 * (len - 4));
        return u128::from(high | u64::from(u32::from_le_bytes(*low)));
    }
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The lowest bytes of a number, as many as the slice has: at most 16.
#[inline(always)]
pub(super) fn store(bytes: &mut [u8], number: u128) {
    let len = bytes.len();
    if let Some((low, _)) = bytes.split_first_chunk_mut::<8>() {
        *low = (number as u64).to_le_bytes();
        let Some((_, high)) = bytes.split_last_chunk_mut::<8>() else { unreachable!("there are eight bytes") };
        *high = ((number >> (8 * (len - 8))) as u64).to_le_bytes();
    } else if let Some((low, _)) = bytes.split_first_chunk_mut::<4>() {
        *low = (number as u32).to_le_bytes();
        let Some((_, high)) = bytes.split_last_chunk_mut::<4>() else { unreachable!("there are four bytes") };
        *high = ((number >> (8 * (len - 4))) as u32).to_le_bytes();
    } else {
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = (number >> (8 * place)) as u8;
        }
    }
}
