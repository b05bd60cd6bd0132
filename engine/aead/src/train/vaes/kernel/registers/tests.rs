//! The tests of the kernel over all registers, and the instructions against what they should do.

use proptest::prelude::*;

use super::{BLOCK, Registers};

/// Tests over registers of any kind, `fn name<V: Registers>(v: V)`: each over arrays of both widths, everywhere, and
/// over the registers of the CPU where they are.
macro_rules! over_all {
    ($($name:ident)+) => {$(
        mod $name {
            #[test]
            fn arrays() {
                super::$name($crate::train::vaes::kernel::registers::Arrays::<2>);
                super::$name($crate::train::vaes::kernel::registers::Arrays::<4>);
            }

            #[cfg(target_arch = "x86_64")]
            #[test]
            fn vaes256() {
                use $crate::train::vaes::kernel::registers::Vaes256;
                match Vaes256::detect() {
                    Some(v) => super::$name(v),
                    None => println!("left out: this CPU lacks {}", Vaes256::missing().join(", ")),
                }
            }

            #[cfg(target_arch = "x86_64")]
            #[test]
            fn vaes512() {
                use $crate::train::vaes::kernel::registers::Vaes512;
                match Vaes512::detect() {
                    Some(v) => super::$name(v),
                    None => println!("left out: this CPU lacks {}", Vaes512::missing().join(", ")),
                }
            }
        }
    )+};
}
pub(in crate::train::vaes::kernel) use over_all;

over_all! {
    prefixes_go_in_and_out
    blocks_are_lanes
    lanes_do_what_arrays_do
    rounds_are_those_of_fips_197
}

/// The numbers in the lanes of a register.
pub(in crate::train::vaes::kernel) fn lanes<V: Registers>(v: V, a: V::Register) -> Vec<u128> {
    let mut bytes = vec![0; V::BYTES];
    v.store(&mut bytes, a);
    bytes.as_chunks().0.iter().map(|block| u128::from_le_bytes(*block)).collect()
}

fn prefixes_go_in_and_out<V: Registers>(v: V) {
    let bytes: Vec<u8> = (1..=V::BYTES as u8).collect();
    let whole = v.load(&bytes);
    for len in 0..=V::BYTES {
        let mut padded = bytes.clone();
        padded[len..].fill(0);
        let padded = lanes(v, v.load(&padded));
        assert_eq!(lanes(v, v.load_prefix(&bytes[..len])), padded, "load, {len}");
        assert_eq!(lanes(v, v.keep_prefix(whole, len)), padded, "keep, {len}");
        let mut stored = vec![0xee; V::BYTES];
        v.store_prefix(&mut stored[..len], whole);
        assert!(stored[..len] == bytes[..len] && stored[len..].iter().all(|byte| *byte == 0xee), "store, {len}");
    }
}

fn blocks_are_lanes<V: Registers>(v: V) {
    let numbers: Vec<u128> = (1..=V::WIDTH as u128 + 1).map(|i| i << 121 | i).collect();
    assert_eq!(lanes(v, v.numbers(&numbers)), numbers[..V::WIDTH]);
    assert_eq!(lanes(v, v.each(|lane| numbers[lane])), numbers[..V::WIDTH]);
    assert_eq!(lanes(v, v.splat(&numbers[1])), vec![numbers[1]; V::WIDTH]);
    assert_eq!(lanes(v, v.zero()), vec![0; V::WIDTH]);
    let mut first = vec![0; V::WIDTH];
    first[0] = numbers[0];
    let mut block = numbers[0].to_le_bytes();
    assert_eq!(lanes(v, v.load_block(&block)), first);
    v.store_block(&mut block, v.numbers(&numbers[1..]));
    assert_eq!(block, numbers[1].to_le_bytes());
}

/// The product without carries, bit by bit.
fn product(a: u128, b: u128) -> u128 {
    (0..64).filter(|bit| b >> bit & 1 == 1).fold(0, |sum, bit| sum ^ (a & u128::from(u64::MAX)) << bit)
}

fn lanes_do_what_arrays_do<V: Registers>(v: V) {
    proptest!(|(a in any::<[u128; 4]>(), b in any::<[u128; 4]>(), c in any::<[u128; 4]>())| {
        let (x, y, z) = (v.numbers(&a), v.numbers(&b), v.numbers(&c));
        let check = |name, made: V::Register, expected: &dyn Fn(usize) -> u128| {
            assert_eq!(lanes(v, made), (0..V::WIDTH).map(expected).collect::<Vec<_>>(), "{name}");
        };
        let words = |i: usize| {
            let sum = |word| u128::from(((a[i] >> word) as u32).wrapping_add((b[i] >> word) as u32)) << word;
            [0, 32, 64, 96].map(sum).iter().sum::<u128>()
        };
        check("xor", v.xor(x, y), &|i| a[i] ^ b[i]);
        check("xor_3", v.xor_3(x, y, z), &|i| a[i] ^ b[i] ^ c[i]);
        check("add_32", v.add_32(x, y), &words);
        check("reverse", v.reverse(x), &|i| a[i].swap_bytes());
        check("swap_halves", v.swap_halves(x), &|i| a[i].rotate_left(64));
        check("multiply_low", v.multiply_low(x, y), &|i| product(a[i], b[i]));
        check("multiply_high", v.multiply_high(x, y), &|i| product(a[i] >> 64, b[i] >> 64));
        let sum = a[..V::WIDTH].iter().fold(0, |sum, lane| sum ^ lane);
        check("sum_lanes", v.sum_lanes(x), &|i| if i == 0 { sum } else { 0 });
    });
}

/// FIPS 197, appendix B: the first round, and the last.
fn rounds_are_those_of_fips_197<V: Registers>(v: V) {
    let number = |digits: u128| digits.swap_bytes();
    let all = |digits: u128| v.splat(&number(digits));
    let round =
        v.aes_round(all(0x193d_e3be_a0f4_e22b_9ac6_8d2a_e9f8_4808), all(0xa0fa_fe17_8854_2cb1_23a3_3939_2a6c_7605));
    assert_eq!(lanes(v, round), vec![number(0xa49c_7ff2_689f_352b_6b5b_ea43_026a_5049); V::WIDTH]);
    let last =
        v.aes_last(all(0xeb40_f21e_592e_3884_8ba1_13e7_1bc3_42d2), all(0xd014_f9a8_c9ee_2589_e13f_0cc8_b663_0ca6));
    assert_eq!(lanes(v, last), vec![number(0x3925_841d_02dc_09fb_dc11_8597_196a_0b32); V::WIDTH]);
    assert_eq!(BLOCK * V::WIDTH, V::BYTES);
}
