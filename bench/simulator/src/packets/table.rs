//! The table that payloads are pieces of, and sums over its pieces.

use std::sync::OnceLock;

use super::{NUMBER_LEN, Number};
use crate::rng::{Rng, mix};

/// Where pieces may begin.
const STARTS: usize = 1 << 15;
/// The longest piece.
const PIECE_MAX: usize = 1 << 16;

struct Table {
    bytes: Vec<u8>,
    /// The sum of all 16-bit words before an even offset, by its half.
    sums: Vec<u64>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut rng = Rng::new(0x7ab1e, 0);
        let bytes: Vec<u8> = (0..STARTS + PIECE_MAX).map(|_| rng.next() as u8).collect();
        let mut sum = 0;
        let mut sums = vec![0];
        for word in bytes.chunks_exact(2) {
            sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
            sums.push(sum);
        }
        Table { bytes, sums }
    })
}

fn start(number: Number) -> usize {
    (mix(number.bits()) as usize % STARTS) & !1
}

/// What stands behind the number of a packet, if it has payload.
pub(super) fn body(number: Number) -> &'static [u8] {
    let start = start(number);
    &table().bytes[start..start + usize::from(number.len).saturating_sub(NUMBER_LEN)]
}

/// The sum of the 16-bit words of a packet's payload, number included.
pub(super) fn payload_sum(number: Number) -> u64 {
    if number.len == 0 {
        return 0;
    }
    let (bits, body, sums) = (number.bits(), body(number), &table().sums);
    let first = start(number) / 2;
    let odd = if body.len() % 2 == 1 { u64::from(body[body.len() - 1]) << 8 } else { 0 };
    let words = (0..4).map(|n| bits >> (16 * n) & 0xffff).sum::<u64>();
    words + sums[first + body.len() / 2] - sums[first] + odd
}

/// A sum of 16-bit words, folded to 16 bits and not complemented (RFC 1071).
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the 16-bit words of `bytes`.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, odd) = bytes.as_chunks::<2>();
    let sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    sum + odd.first().map_or(0, |&last| u64::from(last) << 8)
}
