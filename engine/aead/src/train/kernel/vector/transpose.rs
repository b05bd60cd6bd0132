//! From state words to blocks, in registers of 512 bits.

use super::Wide;

/// From word `i` of all blocks in register `i`, to all words of block `i` in register `i`.
#[inline(always)]
pub(super) fn of_sixteen<V: Wide>(v: V, words: [V::Word; 16]) -> [V::Word; 16] {
    // quads[4g + j]: in its quarter i, words 4g to 4g + 3 of block 4i + j.
    let mut quads = [v.zero(); 16];
    for g in 0..4 {
        let low = v.low_32(words[4 * g], words[4 * g + 1]);
        let high = v.high_32(words[4 * g], words[4 * g + 1]);
        let next_low = v.low_32(words[4 * g + 2], words[4 * g + 3]);
        let next_high = v.high_32(words[4 * g + 2], words[4 * g + 3]);
        quads[4 * g] = v.low_64(low, next_low);
        quads[4 * g + 1] = v.high_64(low, next_low);
        quads[4 * g + 2] = v.low_64(high, next_high);
        quads[4 * g + 3] = v.high_64(high, next_high);
    }
    // Then the quarters are transposed, as four 4 × 4 matrices of them.
    let mut blocks = [v.zero(); 16];
    for j in 0..4 {
        let (a, b, c, d) = (quads[j], quads[4 + j], quads[8 + j], quads[12 + j]);
        let ab_low = v.quarters::<0x44>(a, b);
        let ab_high = v.quarters::<0xee>(a, b);
        let cd_low = v.quarters::<0x44>(c, d);
        let cd_high = v.quarters::<0xee>(c, d);
        blocks[j] = v.quarters::<0x88>(ab_low, cd_low);
        blocks[4 + j] = v.quarters::<0xdd>(ab_low, cd_low);
        blocks[8 + j] = v.quarters::<0x88>(ab_high, cd_high);
        blocks[12 + j] = v.quarters::<0xdd>(ab_high, cd_high);
    }
    blocks
}
