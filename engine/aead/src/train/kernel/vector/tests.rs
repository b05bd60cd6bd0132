//! The tests of the kernel over all registers, and the instructions against what they should do.

use super::{BLOCK, Wide};

/// Tests over registers of any kind, `fn name<V: Wide>(v: V)`: each over arrays, everywhere, and over the registers of
/// AVX-512 where they are.
macro_rules! over_all {
    ($($name:ident)+) => {$(
        mod $name {
            #[test]
            fn arrays() {
                super::$name($crate::train::kernel::vector::Arrays);
            }

            #[cfg(target_arch = "x86_64")]
            #[test]
            fn avx512() {
                use $crate::train::kernel::vector::Avx512;
                match Avx512::detect() {
                    Some(v) => super::$name(v),
                    None => println!("left out: this CPU lacks {}", Avx512::missing().join(", ")),
                }
            }
        }
    )+};
}
pub(in crate::train::kernel) use over_all;

over_all! {
    bytes_go_in_and_out
    lanes_are_where_they_should_be
}

/// A register's eight 64-bit words.
pub(in crate::train::kernel) fn to_words<V: Wide>(v: V, register: V::Word) -> [u64; 8] {
    let mut bytes = [0; BLOCK];
    v.store(&mut bytes, register);
    let (words, _) = bytes.as_chunks();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

fn bytes_go_in_and_out<V: Wide>(v: V) {
    let bytes: [u8; BLOCK] = std::array::from_fn(|i| i as u8 + 1);
    let block = v.load(&bytes);
    for len in 0..=BLOCK {
        let mut prefix = [0; BLOCK];
        prefix[..len].copy_from_slice(&bytes[..len]);
        assert_eq!(to_words(v, v.load_prefix(&bytes[..len])), to_words(v, v.load(&prefix)), "{len}");

        let mut stored = [0xee; BLOCK];
        v.store_prefix(&mut stored[..len], block);
        assert!(stored[..len] == bytes[..len] && stored[len..].iter().all(|byte| *byte == 0xee), "{len}");

        let mut moved = [0; BLOCK];
        moved[BLOCK - len..].copy_from_slice(&bytes[..len]);
        let places = if len == 0 { 0 } else { u64::MAX << (BLOCK - len) };
        assert_eq!(to_words(v, v.expand(places, block)), to_words(v, v.load(&moved)), "{len}");
    }
}

/// A 64-bit word of two of 32 bits.
fn pair(high: usize, low: usize) -> u64 {
    (high as u64) << 32 | low as u64
}

fn lanes_are_where_they_should_be<V: Wide>(v: V) {
    let words: [u64; 8] = std::array::from_fn(|i| pair(2 * i + 1, 2 * i));
    assert_eq!(to_words(v, v.numbers()), words, "32-bit lanes from the lowest on, two of them a 64-bit lane");
    assert_eq!(to_words(v, v.with_words(words)), words);
    let columns = std::array::from_fn(|word| v.add_32(v.numbers(), v.splat_32(100 * word as u32)));
    for (block, words) in v.transpose(columns).as_ref().iter().enumerate() {
        let expected = std::array::from_fn(|i| pair(200 * i + 100 + block, 200 * i + block));
        assert_eq!(to_words(v, *words), expected, "block {block}");
    }
}

/// Each instruction of AVX-512 does what is spelled out for arrays, on all pairs of these numbers and of random ones.
#[cfg(target_arch = "x86_64")]
#[test]
fn instructions_do_what_is_spelled_out() {
    use super::{Arrays, Avx512};

    let Some(avx512) = Avx512::detect() else {
        return println!("left out: this CPU lacks {}", Avx512::missing().join(", "));
    };
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    const EDGES: [u64; 8] = [0, 1, (1 << 44) - 1, 1 << 44, (1 << 52) - 1, 1 << 52, 1 << 63, u64::MAX];
    for round in 0..4000u16 {
        let mut operand = || std::array::from_fn(|_| if next() % 3 == 0 { EDGES[next() as usize % 8] } else { next() });
        let operands: [[u64; 8]; 3] = std::array::from_fn(|_| operand());
        let mask = round.wrapping_mul(0x9e37);
        assert_eq!(outcomes(avx512, operands, mask), outcomes(Arrays, operands, mask), "{operands:x?}, {mask:x}");
    }
}

/// What every operation on lanes makes of these operands. The immediates are those that the kernel uses.
#[cfg(target_arch = "x86_64")]
fn outcomes<V: Wide<Mask32 = u16>>(v: V, operands: [[u64; 8]; 3], mask: u16) -> Vec<[u64; 8]> {
    let [a, b, c] = operands.map(|words| v.with_words(words));
    let masks = [v.at_least_32(a, b), v.is_set(a).into(), v.is_less(a, b).into(), v.at_least_signed(a, b).into()];
    let places = v.with_words(operands[2].map(|word| word % 16));
    let registers = [
        [v.xor(a, b), v.join(a, b), v.and(a, b), v.or(a, b), v.add(a, b), v.add_cut(a, b), v.subtract(a, b)],
        [v.low_32(a, b), v.high_32(a, b), v.low_64(a, b), v.high_64(a, b), v.pick(places, a, b), v.xor_32(a, b), a],
        [v.add_32(a, b), v.blend_32(mask, a, b), v.blend(mask as u8, a, b), v.expand(operands[2][0], a), b, c, a],
        [v.rotate_32::<16>(a), v.rotate_32::<12>(a), v.rotate_32::<8>(a), v.rotate_32::<7>(a), v.splat_32(7), c, a],
        [v.shift_left::<2>(a), v.shift_left::<4>(a), v.shift_left::<8>(a), v.shift_left::<10>(a), v.splat(7), c, a],
        [v.shift_left_cut::<24>(a), v.shift_left_cut::<44>(a), v.shift_right::<20>(a), v.shift_right::<42>(a), b, c, a],
        [v.shift_right::<44>(a), v.shift_right_pair::<24>(a, b), v.shift_right_pair::<44>(a, b), v.numbers(), b, c, a],
        [v.multiply_add_low(c, a, b), v.multiply_add_high(c, a, b), v.zero(), v.load_prefix(&[1; 9]), b, c, a],
        [
            v.quarters::<0x44>(a, b),
            v.quarters::<0xee>(a, b),
            v.quarters::<0x88>(a, b),
            v.quarters::<0xdd>(a, b),
            b,
            c,
            a,
        ],
        [v.quarters::<0x4e>(a, b), v.quarters::<0xb1>(a, b), v.permute_64::<0x4e>(a), v.permute_64::<0xb1>(a), b, c, a],
    ];
    let words = registers.as_flattened().iter().map(|register| to_words(v, *register));
    words.chain(masks.map(|mask| [mask.into(); 8])).collect()
}
