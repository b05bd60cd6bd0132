//! The kernel from inside: published key streams, batches of every kind against another provider, and what is left in
//! memory.

use std::mem::ManuallyDrop;

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::batch::OneTimeKeys;
use super::chacha20::blocks_max;
use super::cipher::Cipher;
use super::pass::{Lanes, Pass};
use super::vector::{Wide, over_all, to_words};
use crate::cipher::BatchCipher;
use crate::{KEY_LEN, Message, Provider, Source, Suite, TAG_LEN};

over_all! {
    key_streams_of_the_rfc
    batches_agree
    every_length_alone
    key_stream_and_one_time_keys_are_wiped
}

/// Blocks `first..first + count` of the key stream for a counter, in lanes from `lane` on; the lanes before are
/// another's.
fn key_stream<V: Wide>(v: V, key: &[u8], counter: u64, first: usize, count: usize, lane: usize) -> Vec<u8> {
    let words: [u32; 8] = std::array::from_fn(|i| u32::from_le_bytes(key[4 * i..][..4].try_into().unwrap()));
    let (mut pass, mut lanes) = (Pass::new(v, &words), Lanes::new(v));
    if lane > 0 {
        lanes.add(&mut pass, 0, !counter, 7, lane);
    }
    assert_eq!(lanes.add(&mut pass, 1, counter, first, count), count);
    pass.make(lanes);
    let (_, stream) = pass.made();
    let mut bytes = Vec::new();
    for block in &stream[lane..lane + count] {
        for word in to_words(v, *block) {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

/// RFC 8439, appendix A.1 (test vectors 1 and 2), section 2.4.2 and section 2.6.2: those whose nonce begins with four
/// zeros, as ours do.
fn key_streams_of_the_rfc<V: Wide>(v: V) {
    let ascending = |first: u8| (first..first + 32).collect::<Vec<_>>();
    let cases = [
        (
            vec![0; 32],
            0,
            0,
            "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7\
             da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586\
             9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
             29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
        ),
        (
            ascending(0),
            0x4a00_0000,
            1,
            "224f51f3401bd9e12fde276fb8631ded8c131f823d2c06e27e4fcaec9ef3cf78\
             8a3b0aa372600a92b57974cded2b9334794cba40c63e34cdea212c4cf07d41b7\
             69a6749f3f630f4122cafe28ec4dc47e26d4346d70b98c73f3e9c53ac40c5945\
             398b6eda1a832c89c167eacd901d7e2bf363",
        ),
        (ascending(0x80), 0x0706_0504_0302_0100, 0, "8ad5a08b905f81cc815040274ab29471a833b637e3fd0da508dbb8e2fdd1a646"),
    ];
    for (key, counter, first, expected) in cases {
        let expected = HEXLOWER.decode(expected.as_bytes()).unwrap();
        let count = expected.len().div_ceil(64);
        for lane in 0..=blocks_max::<V>() - count {
            let stream = key_stream(v, &key, counter, first, count, lane);
            assert_eq!(stream[..expected.len()], expected, "lane {lane}");
        }
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

fn ciphers<V: Wide>(v: V, key: &[u8; KEY_LEN]) -> (Cipher<V>, Box<dyn BatchCipher>) {
    (Cipher::new(v, key), Provider::RustCrypto.cipher(Suite::ChaCha20Poly1305, key))
}

/// Lengths around whole blocks, short and long ones, alike or mixed.
fn lens() -> impl Strategy<Value = Vec<usize>> {
    let any = prop_oneof![0usize..=130, 180usize..=270, 0usize..=1500];
    let alike = (any.clone(), 1usize..=64).prop_map(|(len, count)| vec![len; count]);
    prop_oneof![alike, prop::collection::vec(0usize..=260, 1..=64), prop::collection::vec(any, 1..=64)]
}

fn batches_agree<V: Wide>(v: V) {
    proptest!(|(
        lens in lens(), key in any::<[u8; KEY_LEN]>(),
        counters in prop::collection::vec(any::<u64>(), 64), forged in any::<u64>(),
        heads in prop::collection::vec(0usize..300, 64), short in prop::collection::vec(0usize..40, 64),
    )| {
        let (train, oracle) = ciphers(v, &key);
        let plain = texts(&lens, 1);
        let mut expected = plain.clone();
        oracle.seal_batch(&mut messages(&mut expected, &counters));
        let mut sealed = plain.clone();
        train.seal_batch(&mut messages(&mut sealed, &counters));
        prop_assert!(sealed == expected, "in place");

        // Out of place, in two pieces, with padding.
        let pieces: Vec<_> = plain.iter().zip(heads.iter().zip(&short)).map(|(body, (head, short))| {
            let text = &body[..body.len() - TAG_LEN];
            let text = &text[..text.len().saturating_sub(*short)];
            let (head, body) = text.split_at(text.len().min(*head));
            Source { head, body }
        }).collect();
        let (mut sealed, mut padded) = (texts(&lens, 2), texts(&lens, 3));
        train.seal_batch_from(&pieces, &mut messages(&mut sealed, &counters));
        oracle.seal_batch_from(&pieces, &mut messages(&mut padded, &counters));
        prop_assert!(sealed == padded, "out of place");

        // Some with a bit that is not theirs.
        for (index, body) in expected.iter_mut().enumerate().filter(|(index, _)| forged >> index & 1 == 1) {
            let at = heads[index] % body.len();
            body[at] ^= 1 << (index % 8);
        }
        let arrived = expected.clone();
        let verdicts = train.open_batch(&mut messages(&mut expected, &counters));
        for (index, body) in expected.iter().enumerate() {
            let is_forged = forged >> index & 1 == 1;
            prop_assert_eq!(verdicts.passed(index), !is_forged);
            let text = ..body.len() - TAG_LEN;
            let left = if is_forged { &arrived } else { &plain };
            prop_assert!(body[text] == left[index][text]);
        }
    });
}

/// A lone message, and one counter for all: a pass in which every lane differs only in its block.
fn every_length_alone<V: Wide>(v: V) {
    let (train, oracle) = ciphers(v, &[0x17; KEY_LEN]);
    for len in 0..=2500 {
        let plain = texts(&[len], len);
        let mut sealed = plain.clone();
        train.seal_batch(&mut messages(&mut sealed, &[1 << 40]));
        let mut expected = plain.clone();
        oracle.seal_batch(&mut messages(&mut expected, &[1 << 40]));
        assert!(sealed == expected, "{len}");
        assert!(train.open_batch(&mut messages(&mut sealed, &[1 << 40])).all_passed(), "{len}");
        assert!(sealed[0][..len] == plain[0][..len], "{len}");
    }
}

/// What is left where the blocks of a pass were, and the one-time keys that were taken out of it.
#[allow(unsafe_code)]
fn left_behind<V: Wide>(v: V) -> Vec<[u64; 8]> {
    let (key, mut lanes) = ([0x5eed; 8], Lanes::new(v));
    let mut pass = ManuallyDrop::new(Pass::new(v, &key));
    let mut keys = ManuallyDrop::new(OneTimeKeys::new(v));
    lanes.add(&mut pass, 0, 3, 0, 32);
    pass.make(lanes);
    let (runs, stream) = pass.made();
    keys.take(&runs[0], stream);
    assert!(stream.len() == 32 && keys.made().len() == 1);
    assert!(stream.iter().chain(keys.made()).all(|block| to_words(v, *block) != [0; 8]), "there is something to wipe");
    let places: Vec<*const V::Word> = stream.iter().chain(keys.made()).map(|block| &raw const *block).collect();
    // A shorter pass follows.
    pass.clear();
    let mut lanes = Lanes::new(v);
    lanes.add(&mut pass, 0, 3, 32, 1);
    pass.make(lanes);
    // SAFETY: dropped once, here, and not used after that.
    unsafe { ManuallyDrop::drop(&mut pass) };
    // SAFETY: likewise.
    unsafe { ManuallyDrop::drop(&mut keys) };
    let mut left = Vec::new();
    for place in places {
        // SAFETY: the memory is that of the two variables above, which live on, and any bytes are a register.
        left.push(to_words(v, unsafe { place.read_volatile() }));
    }
    left
}

fn key_stream_and_one_time_keys_are_wiped<V: Wide>(v: V) {
    assert_eq!(left_behind(v), vec![[0; 8]; 33]);
}
