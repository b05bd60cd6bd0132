//! BLAKE2s (RFC 7693), as far as the program needs it: its constants, and the state after the block of a key.

/// The first words of the hash, before the parameters are mixed in.
pub(super) const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The order of the words of a block in each round.
pub(super) const SIGMA: [[u8; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// The words of the state that each quarter of a round mixes: columns, then diagonals.
pub(super) const MIXED: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// Bytes of a block.
pub(super) const BLOCK_LEN: usize = 64;

/// Of a keyed hash with a result of 16 bytes: what is left when the key's block is hashed, and a message follows.
pub(super) fn keyed_state(key: &[u8; 32]) -> [u32; 8] {
    let mut hash = IV;
    // Lengths of the result and of the key; fan-out and depth are one.
    hash[0] ^= 0x0101_0000 | 32 << 8 | 16;
    let mut block = [0; 16];
    for (word, bytes) in block.iter_mut().zip(key.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    compress(&mut hash, &block, BLOCK_LEN as u32);
    hash
}

/// Takes in a block that is not the last. `len` are the bytes hashed with it.
fn compress(hash: &mut [u32; 8], block: &[u32; 16], len: u32) {
    let mut state = [0; 16];
    state[..8].copy_from_slice(hash);
    state[8..].copy_from_slice(&IV);
    state[12] ^= len;
    for order in SIGMA {
        for ([a, b, c, d], words) in MIXED.into_iter().zip(order.as_chunks::<2>().0) {
            for (word, [first, second]) in words.iter().zip([[16, 12], [8, 7]]) {
                state[a] = state[a].wrapping_add(state[b]).wrapping_add(block[usize::from(*word)]);
                state[d] = (state[d] ^ state[a]).rotate_right(first);
                state[c] = state[c].wrapping_add(state[d]);
                state[b] = (state[b] ^ state[c]).rotate_right(second);
            }
        }
    }
    for (i, word) in hash.iter_mut().enumerate() {
        *word ^= state[i] ^ state[i + 8];
    }
}
