//! The kernel from inside: key schedule, the field of GHASH, batches of every kind against another provider, and what
//! is left in memory.

use std::mem::ManuallyDrop;

use proptest::prelude::*;

use super::cipher::Cipher;
use super::ghash::{Lengths, add_blocks, multiply, times_x};
use super::key::{Key, expand};
use super::masks::{Masks, section_len};
use super::registers::{BLOCK, Registers, lanes, over_all};
use super::stream::{REGISTERS, encrypt};
use crate::cipher::BatchCipher;
use crate::{KEY_LEN, Message, Provider, Source, Suite, TAG_LEN};

over_all! {
    the_key_schedule_of_fips_197
    products_in_the_field
    powers_of_h
    sums_of_any_blocks
    batches_agree
    masks_are_wiped
}

fn number(digits: u128) -> u128 {
    digits.swap_bytes()
}

/// FIPS 197: the last round keys of appendix A.3, and the block of appendix C.3.
fn the_key_schedule_of_fips_197<V: Registers>(v: V) {
    let key = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap().try_into().unwrap();
    let table = expand(v, &key);
    let rounds = Key::of::<V>(table.expose()).rounds;
    assert_eq!(rounds[2], number(0x9ba3_5411_8e69_25af_a51a_8b5f_2067_fcde));
    assert_eq!(rounds[3], number(0xa8b0_9c1a_93d1_94cd_be49_846e_b75d_5b9a));
    assert_eq!(rounds[14], number(0xfe48_90d1_e618_8d0b_046d_f344_706c_631e));
    let table = expand(v, &std::array::from_fn(|i| i as u8));
    let block = encrypt(v, Key::of::<V>(table.expose()).rounds, number(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
    assert_eq!(block, number(0x8ea2_b7ca_5167_45bf_eafc_4990_4b49_6089));
}

/// The product as in NIST SP 800-38D, section 6.3: bit by bit, the leftmost bit being x^0.
fn product(a: u128, b: u128) -> u128 {
    let (mut sum, mut multiple) = (0, b);
    for bit in (0..128).rev() {
        if a >> bit & 1 == 1 {
            sum ^= multiple;
        }
        multiple = (multiple >> 1) ^ ((multiple & 1) * (0xe1 << 120));
    }
    sum
}

/// Where carries and reductions could go wrong: single bits, all bits, the modulus, and what is beside its bits.
fn edges() -> Vec<u128> {
    let mut edges: Vec<u128> = (0..128).map(|bit| 1 << bit).collect();
    edges.extend((0..128).map(|bit| u128::MAX << bit));
    edges.extend((1..128).map(|bit| u128::MAX >> bit));
    edges.extend([
        0,
        0xe1 << 120,
        0xc2 << 120,
        0xc2 << 120 | 1,
        u128::from(u64::MAX),
        u128::MAX / 3,
        u128::MAX / 3 * 2,
    ]);
    edges
}

fn products_in_the_field<V: Registers>(v: V) {
    let edges = edges();
    for (index, a) in edges.iter().enumerate() {
        // Each with some others: all with all would take a minute over arrays.
        for b in edges.iter().skip(index % 7).step_by(7) {
            assert_eq!(multiply(v, *a, times_x(*b)), product(*a, *b), "{a:#x} {b:#x}");
        }
    }
}

fn powers_of_h<V: Registers>(v: V) {
    let table = expand(v, &[7; KEY_LEN]);
    let key = Key::of::<V>(table.expose());
    let h = encrypt(v, key.rounds, 0).swap_bytes();
    let mut power = h;
    for exponent in 1..=REGISTERS * V::WIDTH + 1 {
        let powers = key.powers_from::<1, V>(exponent);
        assert_eq!(powers.plain[0], times_x(power), "{exponent}");
        assert_eq!(powers.folded[0], u128::from((powers.plain[0] >> 64) as u64 ^ powers.plain[0] as u64), "{exponent}");
        power = product(power, h);
    }
    // Behind the last power are zeros, as many as a register can reach.
    assert_eq!(key.powers_from::<1, V>(1).plain[1..], vec![0; V::WIDTH - 1]);
}

/// Blocks that are edges, from sums that are: in one register and in all of them.
fn sums_of_any_blocks<V: Registers>(v: V) {
    fn check<const N: usize, V: Registers>(v: V, key: Key<'_>, h: u128, edges: &[u128]) {
        for (index, y) in edges.iter().enumerate() {
            let blocks: Vec<u128> = edges.iter().cycle().skip(index * 5).take(N * V::WIDTH).copied().collect();
            // As they lie in a text.
            let registers = std::array::from_fn(|register| v.reverse(v.numbers(&blocks[register * V::WIDTH..])));
            let before = v.each(|lane| if lane == 0 { *y } else { 0 });
            let sum = add_blocks::<N, V>(v, key.powers_from::<N, V>(N * V::WIDTH), before, registers);
            let expected = blocks
                .iter()
                .enumerate()
                .fold(0, |sum, (place, block)| product(sum ^ block ^ if place == 0 { *y } else { 0 }, h));
            assert_eq!(lanes(v, sum)[0], expected, "{N} registers, {index}");
            assert!(lanes(v, sum)[1..].iter().all(|lane| *lane == 0));
        }
    }
    let table = expand(v, &[9; KEY_LEN]);
    let key = Key::of::<V>(table.expose());
    let h = encrypt(v, key.rounds, 0).swap_bytes();
    let edges = edges();
    check::<1, V>(v, key, h, &edges);
    check::<REGISTERS, V>(v, key, h, &edges);
    let mut lengths = Lengths::new(v);
    for len in [0, 1, 16, 16, 1420, 65_535, 1] {
        let expected = product(8 * len as u128, h);
        assert_eq!(lanes(v, lengths.product(v, key, len))[0], expected, "{len}");
    }
}

/// Texts of these lengths, and room for their tags.
fn texts(lens: &[usize], seed: usize) -> Vec<Vec<u8>> {
    let byte = |i: usize, j: usize| (i * 41 + j * 7 + j / 256 * 3 + seed) as u8;
    let text = |(i, len): (usize, &usize)| (0..len + TAG_LEN).map(|j| byte(i, j)).collect();
    lens.iter().enumerate().map(text).collect()
}

fn messages<'a>(bodies: &'a mut [Vec<u8>], counters: &[u64]) -> Vec<Message<'a>> {
    let message = |(body, counter): (&'a mut Vec<u8>, &u64)| Message::of_body(*counter, body).unwrap();
    bodies.iter_mut().zip(counters).map(message).collect()
}

/// Lengths around whole registers, short and long ones, alike or mixed.
fn lens() -> impl Strategy<Value = Vec<usize>> {
    let any = prop_oneof![0usize..=130, 240usize..=270, 500usize..=530, 0usize..=1500];
    let alike = (any.clone(), 1usize..=64).prop_map(|(len, count)| vec![len; count]);
    prop_oneof![alike, prop::collection::vec(0usize..=130, 1..=64), prop::collection::vec(any, 1..=64)]
}

fn batches_agree<V: Registers>(v: V) {
    proptest!(ProptestConfig::with_cases(64), |(
        lens in lens(), key in any::<[u8; KEY_LEN]>(), counters in prop::collection::vec(any::<u64>(), 64),
        forged in any::<u64>(), heads in prop::collection::vec(0usize..300, 64),
        short in prop::collection::vec(0usize..40, 64),
    )| {
        let (cipher, oracle) = (Cipher::new(v, &key), Provider::RustCrypto.cipher(Suite::Aes256Gcm, &key));
        let plain = texts(&lens, 1);
        let (mut sealed, mut expected) = (plain.clone(), plain.clone());
        cipher.seal_batch(&mut messages(&mut sealed, &counters));
        oracle.seal_batch(&mut messages(&mut expected, &counters));
        prop_assert!(sealed == expected, "in place");

        // Out of place, in two pieces, with padding.
        let pieces: Vec<_> = plain.iter().zip(heads.iter().zip(&short)).map(|(body, (head, short))| {
            let text = &body[..(body.len() - TAG_LEN).saturating_sub(*short)];
            let (head, body) = text.split_at(text.len().min(*head));
            Source { head, body }
        }).collect();
        let (mut sealed, mut padded) = (texts(&lens, 2), texts(&lens, 3));
        cipher.seal_batch_from(&pieces, &mut messages(&mut sealed, &counters));
        oracle.seal_batch_from(&pieces, &mut messages(&mut padded, &counters));
        prop_assert!(sealed == padded, "out of place");

        // Some with a bit that is not theirs.
        for (index, body) in expected.iter_mut().enumerate().filter(|(index, _)| forged >> index & 1 == 1) {
            let at = heads[index] % body.len();
            body[at] ^= 1 << (index % 8);
        }
        let verdicts = cipher.open_batch(&mut messages(&mut expected, &counters));
        for (index, body) in expected.iter().enumerate() {
            let is_forged = forged >> index & 1 == 1;
            prop_assert_eq!(verdicts.passed(index), !is_forged);
            let text = &body[..body.len() - TAG_LEN];
            let expected = if is_forged { vec![0; text.len()] } else { plain[index][..text.len()].to_vec() };
            prop_assert!(*text == expected[..]);
        }
    });
}

/// What is left where the masks of a section were.
#[allow(unsafe_code)]
fn masks_are_wiped<V: Registers>(v: V) {
    let table = expand(v, &[0x5e; KEY_LEN]);
    let mut bodies = texts(&vec![8; section_len::<V>()], 0);
    let counters: Vec<u64> = (0..64).collect();
    for count in [1, section_len::<V>()] {
        let batch = messages(&mut bodies[..count], &counters);
        let mut masks = ManuallyDrop::new(Masks::new(v, Key::of::<V>(table.expose()), &batch));
        assert!(masks.places().all(|mask| *mask != [0; BLOCK]), "there is something to wipe");
        let places: Vec<*const [u8; BLOCK]> = masks.places().map(|place| &raw const *place).collect();
        assert_eq!(places.len(), count.next_multiple_of(V::WIDTH));
        // SAFETY: dropped once, here, and not used after that.
        unsafe { ManuallyDrop::drop(&mut masks) };
        for place in places {
            // SAFETY: the memory is that of the variable above, which lives on, and has bytes in it.
            assert_eq!(unsafe { place.read_volatile() }, [0; BLOCK]);
        }
    }
}
