//! Bytes that the receiver can check without having been told them.

/// Length of the repeated block: a prime, so no packet, segment or buffer size divides it and a lost or doubled
/// piece cannot go unnoticed.
const BLOCK_LEN: usize = 65_521;

/// An endless stream of bytes that depends on a seed: the same for the sender and the receiver.
#[derive(Clone)]
pub struct Pattern {
    /// The block twice, so any run of up to one block is contiguous.
    doubled: Vec<u8>,
    position: usize,
}

impl Pattern {
    /// The stream of `seed`, from its beginning.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut doubled: Vec<u8> =
            std::iter::repeat_with(|| split_mix(&mut state)).flat_map(u64::to_le_bytes).take(BLOCK_LEN).collect();
        doubled.extend_from_within(..);
        Self { doubled, position: 0 }
    }

    /// The next bytes of the stream, without taking them: 65,521 at most.
    pub fn peek(&self, len: usize) -> &[u8] {
        &self.doubled[self.position..self.position + len.min(BLOCK_LEN)]
    }

    /// Moves on by `len` bytes.
    pub fn advance(&mut self, len: usize) {
        self.position = (self.position + len) % BLOCK_LEN;
    }

    /// Takes `received.len()` bytes, and says whether they are the ones received.
    pub fn matches(&mut self, received: &[u8]) -> bool {
        for chunk in received.chunks(BLOCK_LEN) {
            if self.peek(chunk.len()) != chunk {
                return false;
            }
            self.advance(chunk.len());
        }
        true
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): statistically good, needs no state but a counter.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Small random numbers for sizes and fuzz: reproducible from the seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0..bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (split_mix(&mut self.0) % bound as u64) as usize
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| split_mix(&mut self.0) as u8).take(len).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sender_and_receiver_agree_across_odd_reads() {
        let mut sender = Pattern::new(7);
        let mut receiver = Pattern::new(7);
        let mut sent = Vec::new();
        while sent.len() < 300_000 {
            let chunk = sender.peek(40_000).to_vec();
            sender.advance(chunk.len());
            sent.extend(chunk);
        }
        for piece in sent.chunks(70_001) {
            assert!(receiver.matches(piece));
        }
    }

    #[test]
    fn a_flipped_bit_a_gap_and_another_seed_are_noticed() {
        let stream = Pattern::new(1).peek(5_000).to_vec();
        let mut flipped = stream.clone();
        flipped[4_000] ^= 1;
        assert!(!Pattern::new(1).matches(&flipped));
        assert!(!Pattern::new(1).matches(&stream[1..]));
        assert!(!Pattern::new(2).matches(&stream));
    }
}
