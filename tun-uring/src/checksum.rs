//! The Internet checksum of RFC 1071, portable, over any cut of the data.
//!
//! Sums are kept in the byte order of the machine. RFC 1071 section 2 (B) shows that this gives the right bytes as
//! long as the words are loaded and the result is stored the same way, which is what [`Sum::to_bytes`] does.

/// An unfinished one's-complement sum over bytes.
///
/// Two sums of parts that each begin at an even offset may be [added](Sum::plus) in any order. For pieces of any
/// length that follow each other, use [`Pieces`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

/// Bytes that one step of the wide loop adds: eight independent lanes, so that the compiler can use vectors.
const STEP: usize = 32;

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of `bytes`, an odd last byte padded with zero.
    ///
    /// A 64-bit accumulator of 32-bit words cannot overflow below 16 GiB, so no carry is looked at until the end.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        let mut lanes = [0u64; STEP / 4];
        let mut steps = bytes.chunks_exact(STEP);
        for step in &mut steps {
            for (lane, word) in lanes.iter_mut().zip(step.as_chunks::<4>().0) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let mut sum: u64 = lanes.iter().sum();
        let (words, tail) = steps.remainder().as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// The sum of one 16-bit field with the value `value` (as a number, not as wire bytes).
    #[must_use]
    #[inline]
    pub const fn of_u16(value: u16) -> Self {
        Self(value.to_be() as u64)
    }

    /// The sum of one 32-bit field with the value `value` (as a number, not as wire bytes).
    #[must_use]
    #[inline]
    pub const fn of_u32(value: u32) -> Self {
        Self(value.to_be() as u64)
    }

    /// The pseudo-header of TCP and UDP (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1): `addresses` are the
    /// source and destination as they lie in the IP header (8 or 32 bytes), `len` is that of header and payload.
    #[must_use]
    #[inline]
    pub fn pseudo_header(addresses: &[u8], protocol: u8, len: u32) -> Self {
        Self::of(addresses).plus(Self::of_u16(u16::from(protocol))).plus(Self::of_u32(len))
    }

    /// Both sums together.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        // Saves from overflow whoever adds without end; below 2^63 it changes nothing.
        // (The carry goes around, since 2^64 is 1 modulo 2^16 - 1.)
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + carry as u64)
    }

    /// The sum of the same bytes at an odd offset (RFC 1071 section 2 (B): the bytes of each word swapped).
    #[must_use]
    #[inline]
    const fn swapped(self) -> Self {
        Self(self.folded().swap_bytes() as u64)
    }

    const fn folded(self) -> u16 {
        let mut s = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        s = (s & 0xffff_ffff) + (s >> 32);
        s = (s & 0xffff) + (s >> 16);
        s = (s & 0xffff) + (s >> 16);
        s as u16
    }

    /// The folded sum as wire bytes, *not* complemented: what a partial checksum field holds for the one who
    /// completes it.
    #[must_use]
    #[inline]
    pub const fn to_bytes(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The checksum as wire bytes: the complement of the folded sum.
    #[must_use]
    #[inline]
    pub const fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// The checksum for TCP and UDP as the kernel writes it (`CSUM_MANGLED_0`): a zero is sent as its other
    /// representation, since zero in UDP means "no checksum" (RFC 768).
    #[must_use]
    #[inline]
    pub const fn transport_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            other => other,
        }
    }

    /// Whether the sum over data *including* its checksum field says that the data is intact.
    #[must_use]
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.folded() == 0xffff
    }
}

/// The sum of pieces that follow each other, each of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces {
    sum: Sum,
    odd: bool,
}

impl Pieces {
    /// Starts behind data with the sum `sum` and an even length, for instance a pseudo-header.
    #[must_use]
    pub const fn after(sum: Sum) -> Self {
        Self { sum, odd: false }
    }

    /// Adds the piece that follows.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.push_sum(Sum::of(bytes), bytes.len());
    }

    /// Adds the piece that follows, of which the sum is known already.
    #[inline]
    pub fn push_sum(&mut self, sum: Sum, len: usize) {
        self.sum = self.sum.plus(if self.odd { sum.swapped() } else { sum });
        self.odd ^= len % 2 == 1;
    }

    /// The sum over all pieces.
    #[must_use]
    #[inline]
    pub const fn sum(self) -> Sum {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn naive(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    /// Bytes without a pattern that a wrong lane or order could hide behind.
    fn noise(len: usize, seed: u32) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).to_bytes(), [0xdd, 0xf2]);
        assert_eq!(Sum::of(&bytes).checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn every_length_at_every_alignment() {
        let data = noise(64 + 2 * STEP + 300, 7);
        for start in 0..64 {
            for len in 0..2 * STEP + 300 {
                let bytes = &data[start..start + len];
                assert_eq!(Sum::of(bytes).checksum(), naive(bytes), "start {start}, length {len}");
            }
        }
    }

    #[test]
    fn the_largest_packet_of_all_ones() {
        for len in [65_534, 65_535, 65_536] {
            let bytes = vec![0xff; len];
            assert_eq!(Sum::of(&bytes).checksum(), naive(&bytes));
        }
    }

    #[test]
    fn every_cut_into_two_pieces() {
        let data = noise(97, 3);
        for cut in 0..=data.len() {
            let mut pieces = Pieces::default();
            pieces.push(&data[..cut]);
            pieces.push(&data[cut..]);
            assert_eq!(pieces.sum().checksum(), naive(&data), "cut at {cut}");
        }
    }

    #[test]
    fn numbers_sum_as_their_wire_bytes() {
        assert_eq!(Sum::of_u16(0x1234), Sum::of(&[0x12, 0x34]));
        assert_eq!(Sum::of_u32(0x1234_5678), Sum::of(&[0x12, 0x34, 0x56, 0x78]));
    }

    #[test]
    fn zero_is_mangled_for_transports_only() {
        let sum = Sum::of(&[0xff, 0xff]);
        assert_eq!(sum.checksum(), [0, 0]);
        assert_eq!(sum.transport_checksum(), [0xff, 0xff]);
    }

    #[test]
    fn sums_near_overflow_keep_their_carry() {
        let big = Sum(u64::MAX);
        assert_eq!(big.plus(Sum(1)).folded(), 1);
        assert_eq!(big.plus(big).folded(), 0xffff);
    }

    #[test]
    fn a_real_packet_verifies() {
        // A datagram made by hand: 192.168.0.1:53 → 192.168.0.199:1024, UDP, payload "abc".
        let mut datagram = vec![0x00, 0x35, 0x04, 0x00, 0x00, 0x0b, 0, 0, b'a', b'b', b'c'];
        let addresses = [192, 168, 0, 1, 192, 168, 0, 199];
        let pseudo = Sum::pseudo_header(&addresses, 17, datagram.len() as u32);
        let checksum = pseudo.plus(Sum::of(&datagram)).transport_checksum();
        datagram[6..8].copy_from_slice(&checksum);
        assert!(pseudo.plus(Sum::of(&datagram)).is_valid());
        datagram[10] ^= 1;
        assert!(!pseudo.plus(Sum::of(&datagram)).is_valid());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_sum(data in prop::collection::vec(any::<u8>(), 0..2000), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let mut at: Vec<usize> = cuts.iter().map(|i| i.index(data.len() + 1)).collect();
            at.extend([0, data.len()]);
            at.sort_unstable();
            let mut pieces = Pieces::default();
            for pair in at.windows(2) {
                pieces.push(&data[pair[0]..pair[1]]);
            }
            prop_assert_eq!(pieces.sum().checksum(), naive(&data));
        }

        #[test]
        fn data_with_its_checksum_is_valid(mut data in prop::collection::vec(any::<u8>(), 2..300)) {
            data[0] = 0;
            data[1] = 0;
            let checksum = Sum::of(&data).checksum();
            data[..2].copy_from_slice(&checksum);
            // All-zero data has the sum zero, whose complement is valid as well.
            prop_assert!(Sum::of(&data).is_valid());
        }
    }
}
