//! The Internet checksum of RFC 1071, over any cut of the data.
//!
//! Headers are summed where they are needed, a word at a time. What is longer goes through vectors where the CPU has
//! AVX2, which is asked at run time. Measured and left out: AVX-512 (nothing gained at the length of a packet), and
//! summing in the pass that copies (1 % of sealing at best, and a loss where sealing itself is the copy).
//!
//! Sums are kept in the byte order of the machine. RFC 1071 section 2 (B) shows that this gives the right bytes as
//! long as the words are loaded and the result is stored the same way, which is what [`Sum::to_bytes`] does.

#[cfg(target_arch = "x86_64")]
mod x86;

/// An unfinished one's-complement sum over bytes.
///
/// Two sums of parts that each begin at an even offset may be [added](Sum::plus) in any order. For pieces of any
/// length that follow each other, use [`Pieces`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

/// Up to here the shortest code is the fastest; headers and addresses are below.
const SHORT_MAX: usize = 64;

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of `bytes`, an odd last byte padded with zero.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.len() <= SHORT_MAX { Self(scalar(bytes)) } else { Self::of_long(bytes) }
    }

    #[inline(never)]
    fn of_long(bytes: &[u8]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(sum) = x86::sum(bytes) {
            return Self(sum);
        }
        Self::of_portable(bytes)
    }

    /// The sum of `from`, which is copied to `to` in the same pass: the bytes are read once for both.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn of_copy(from: &[u8], to: &mut [u8]) -> Self {
        assert_eq!(from.len(), to.len(), "a copy is as long as what it copies");
        #[cfg(target_arch = "x86_64")]
        if let Some(sum) = x86::copy(from, to) {
            return Self(sum);
        }
        to.copy_from_slice(from);
        Self::of_portable(to)
    }

    /// [`Sum::of`] as it is on a CPU for which there is nothing better: for tests and measurements.
    #[must_use]
    pub fn of_portable(bytes: &[u8]) -> Self {
        Self(scalar(bytes))
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

/// The sum a word at a time. The additions with carry need no vectors to be fast, so this does not depend on what
/// the compiler makes of a loop.
#[inline]
fn scalar(bytes: &[u8]) -> u64 {
    let (words, mut tail) = bytes.as_chunks::<8>();
    let (mut sum, mut carries) = (0u64, 0u64);
    for word in words {
        let (next, carry) = sum.overflowing_add(u64::from_ne_bytes(*word));
        sum = next;
        carries += u64::from(carry);
    }
    // Each carry is worth 2^64, and that is 1 modulo 2^16 - 1, as 2^32 is.
    let mut total = (sum & 0xffff_ffff) + (sum >> 32) + carries;
    if let Some((word, rest)) = tail.split_first_chunk() {
        total += u64::from(u32::from_ne_bytes(*word));
        tail = rest;
    }
    if let Some((word, rest)) = tail.split_first_chunk() {
        total += u64::from(u16::from_ne_bytes(*word));
        tail = rest;
    }
    match tail {
        [last] => total + u64::from(u16::from_ne_bytes([*last, 0])),
        _ => total,
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
mod tests;
