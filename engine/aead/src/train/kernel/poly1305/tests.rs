//! Poly1305 in registers: the examples of RFC 8439, and groups of messages against big integers.

use data_encoding::HEXLOWER;
use num_bigint::BigUint;

use super::field::{Element, Multiplier};
use super::{GROUP_MAX, tags};
use crate::train::kernel::vector::{Wide, over_all, to_words};

type Key = [u8; 32];

fn p() -> BigUint {
    (BigUint::from(1u8) << 130u32) - 5u8
}

/// RFC 8439, section 2.5.1, in the words of the RFC.
fn reference(key: &Key, message: &[u8]) -> u128 {
    let mut r = key[..16].to_vec();
    for i in [3, 7, 11, 15] {
        r[i] &= 15;
    }
    for i in [4, 8, 12] {
        r[i] &= 252;
    }
    let r = BigUint::from_bytes_le(&r);
    let mut accumulator = BigUint::ZERO;
    for block in message.chunks(16) {
        accumulator = (accumulator + BigUint::from_bytes_le(&[block, &[1]].concat())) * &r % p();
    }
    let tag = (accumulator + BigUint::from_bytes_le(&key[16..])) % (BigUint::from(1u8) << 128u32);
    tag.try_into().unwrap()
}

/// What the AEAD authenticates (section 2.8): the text, padded, and the lengths.
fn framed(text: &[u8]) -> Vec<u8> {
    let mut message = text.to_vec();
    message.resize(text.len().next_multiple_of(16), 0);
    message.extend([0; 8]);
    message.extend((text.len() as u64).to_le_bytes());
    message
}

/// A message without the framing, in all lanes, block by block.
fn unframed<V: Wide>(v: V, key: &Key, message: &[u8]) -> [u128; 8] {
    let splat = |bytes: &[u8]| {
        let (words, _) = bytes.as_chunks();
        let word = |i: usize| v.splat(u64::from_le_bytes(words[i]));
        [word(0), word(1)]
    };
    let [r_low, r_high] = splat(&key[..16]);
    let clamped = [v.and(r_low, v.splat(0x0fff_fffc_0fff_ffff)), v.and(r_high, v.splat(0x0fff_fffc_0fff_fffc))];
    let r = Multiplier::new(v, Element::from_block(v, clamped, v.zero()));
    let mut h = Element([v.zero(); 3]);
    for block in message.chunks(16) {
        let mut padded = [0; 16];
        padded[..block.len()].copy_from_slice(block);
        let top = if let Some(end) = padded.get_mut(block.len()) {
            *end = 1;
            v.zero()
        } else {
            v.splat(1)
        };
        h = Element::from_block(v, splat(&padded), top).plus(v, h).times(v, &r);
    }
    let [low, high] = h.tag(v, splat(&key[16..]));
    let (low, high) = (to_words(v, low), to_words(v, high));
    std::array::from_fn(|lane| u128::from(high[lane]) << 64 | u128::from(low[lane]))
}

over_all! {
    examples_of_the_rfc
    groups_of_any_size_and_lengths
    sums_at_the_edges_of_the_reduction
}

fn examples_of_the_rfc<V: Wide>(v: V) {
    let bytes = |hex: &str| HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
    let small = |r: u8, s: u8| -> String { format!("{r:02x}{}{}", "00".repeat(15), format!("{s:02x}").repeat(16)) };
    let cases = [
        // Section 2.5.2.
        (
            "85d6be7857556d337f4452fe42d506a8 0103808afb0db2fd4abff6af4149f51b".to_owned(),
            HEXLOWER.encode(b"Cryptographic Forum Research Group"),
            "a8061dc1305136c6c22b8baf0c0127a9",
        ),
        // Appendix A.3, test vectors 7 to 11: each is an edge of the reduction.
        (small(2, 0), "ff".repeat(16), "03000000000000000000000000000000"),
        (small(2, 0xff), format!("02{}", "00".repeat(15)), "03000000000000000000000000000000"),
        (
            small(1, 0),
            format!("{}f0{}11{}", "ff".repeat(16), "ff".repeat(15), "00".repeat(15)),
            "05000000000000000000000000000000",
        ),
        (
            small(1, 0),
            format!("{}fb{}{}", "ff".repeat(16), "fe".repeat(15), "01".repeat(16)),
            "00000000000000000000000000000000",
        ),
        (small(2, 0), format!("fd{}", "ff".repeat(15)), "faffffffffffffffffffffffffffffff"),
    ];
    for (key, message, tag) in cases {
        let (key, message): (Key, _) = (bytes(&key).try_into().unwrap(), bytes(&message));
        let expected = u128::from_le_bytes(bytes(tag).try_into().unwrap());
        assert_eq!(reference(&key, &message), expected, "{tag}");
        assert_eq!(unframed(v, &key, &message), [expected; 8], "{tag}");
    }
}

/// Small numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next(256) as u8).collect()
    }

    /// Keys whose r is anything, nothing, 1, 2, or as large as it can be, and whose s carries or not.
    fn key(&mut self) -> Key {
        let small = |r: u8| [&[r][..], &[0; 15]].concat();
        let r = match self.next(6) {
            0 => small(0),
            1 => small(1),
            2 => small(2),
            3 => vec![0xff; 16],
            _ => self.bytes(16),
        };
        let s = self.text(16);
        [r, s].concat().try_into().unwrap()
    }

    fn text(&mut self, len: usize) -> Vec<u8> {
        match self.next(3) {
            0 => vec![0xff; len],
            1 => vec![0; len],
            _ => self.bytes(len),
        }
    }
}

/// A text of whole blocks for which, with r = 1, the sum of all that is authenticated is `target` modulo p.
fn steered(numbers: &mut Numbers, blocks: usize, target: &BigUint) -> Option<Vec<u8>> {
    let mut text = [vec![0; 16], numbers.bytes(16 * (blocks - 1))].concat();
    let sum = framed(&text).chunks(16).fold(BigUint::ZERO, |sum, b| sum + BigUint::from_bytes_le(&[b, &[1]].concat()));
    let mut missing = (target + p() * 1000u32 - sum) % p();
    for block in text.chunks_mut(16) {
        let now = BigUint::from_bytes_le(block);
        let room = (BigUint::from(1u8) << 128u32) - 1u8 - &now;
        let taken = missing.clone().min(room);
        missing -= &taken;
        let bytes = (now + taken).to_bytes_le();
        block.fill(0);
        block[..bytes.len()].copy_from_slice(&bytes);
    }
    (missing == BigUint::ZERO).then_some(text)
}

fn check<V: Wide>(v: V, texts: &[Vec<u8>], keys: &[Key]) {
    let mut slices: [&[u8]; GROUP_MAX] = [&texts[0]; GROUP_MAX];
    slices.iter_mut().zip(texts).for_each(|(slice, text)| *slice = text);
    // The second half of the block is not part of the key.
    let block = |key: &Key| v.load(&[&key[..], &[0xa5; 32]].concat().try_into().unwrap());
    let blocks: Vec<_> = keys.iter().map(block).collect();
    let computed = tags(v, &slices, &blocks);
    for ((text, key), tag) in texts.iter().zip(keys).zip(computed) {
        let lens: Vec<_> = texts.iter().map(Vec::len).collect();
        assert_eq!(u128::from_le_bytes(tag), reference(key, &framed(text)), "{} of {lens:?}, {key:x?}", text.len());
    }
}

fn groups_of_any_size_and_lengths<V: Wide>(v: V) {
    let mut numbers = Numbers(7);
    for round in 0..4000 {
        let count = 1 + round % GROUP_MAX;
        let longest = if round % 16 == 0 { 1500 } else { 300 };
        let same = (round % 3 != 0).then(|| numbers.next(longest));
        let mut texts = Vec::new();
        for _ in 0..count {
            let len = same.unwrap_or_else(|| numbers.next(longest));
            texts.push(numbers.text(len));
        }
        let keys: Vec<_> = (0..count).map(|_| numbers.key()).collect();
        check(v, &texts, &keys);
    }
}

/// Of two mistakes in the final reduction of an earlier version, every other test knew nothing: a random sum is near p
/// once in 2^127 times.
fn sums_at_the_edges_of_the_reduction<V: Wide>(v: V) {
    let mut numbers = Numbers(8);
    let mut steered_count = 0;
    for round in 0..3000u32 {
        let count = 1 + round as usize % GROUP_MAX;
        let (mut texts, mut keys) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut key = numbers.key();
            key[..16].fill(0);
            key[0] = 1;
            // From 8 below p to 8 above it, which is the same as from 0 on.
            let target = (p() + numbers.next(17) as u32 - 8u8) % p();
            let blocks = 3 + numbers.next(24);
            let text = steered(&mut numbers, blocks, &target);
            steered_count += usize::from(text.is_some());
            texts.push(text.unwrap_or_else(|| numbers.text(16 * blocks)));
            keys.push(key);
        }
        check(v, &texts, &keys);
    }
    assert!(steered_count > 10_000, "{steered_count} sums were steered");
}
