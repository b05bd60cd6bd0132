//! Every provider does, byte for byte, what the RustCrypto crate does.

use proptest::prelude::*;
use ringfort_aead::{Geometry, HEADER_LEN, OpenKey, Plan, Provider, SEGMENTS_MAX, SealKey, Source, TAG_LEN};

use crate::common::{
    KEY, SUITE, ascending, bytes, open_key, oracle, oracle_train, plain_train, providers, seal_key, text,
};

#[test]
fn single_messages_of_every_length() {
    for provider in providers() {
        let (seal, open) = (seal_key(provider), open_key(provider));
        for len in 0..=2000 {
            let counter = (len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let plaintext = bytes(len, len);
            let expected = oracle(&KEY, counter, &plaintext);

            let (mut ciphertext, mut tag) = (plaintext.clone(), [0; TAG_LEN]);
            seal.seal(counter, &mut ciphertext, &mut tag).unwrap();
            assert_eq!([&ciphertext[..], &tag].concat(), expected, "{provider} seal, {len} bytes");

            let mut destination = vec![0xee; len + TAG_LEN];
            seal.seal_from(counter, &plaintext, &mut destination).unwrap();
            assert_eq!(destination, expected, "{provider} seal_from, {len} bytes");

            open.open(counter, &mut destination).unwrap();
            assert_eq!(destination[..len], plaintext, "{provider} open, {len} bytes");
            assert_eq!(destination[len..], expected[len..], "{provider} open leaves the tag, {len} bytes");
        }
    }
}

#[test]
fn a_short_source_is_padded_with_zeros() {
    for provider in providers() {
        let seal = seal_key(provider);
        for (source_len, plain_len) in [(0, 0), (0, 16), (1, 16), (15, 16), (17, 32), (1415, 1420), (100, 1400)] {
            let source = bytes(source_len, 3);
            let mut padded = source.clone();
            padded.resize(plain_len, 0);
            let mut destination = vec![0xee; plain_len + TAG_LEN];
            seal.seal_from(9, &source, &mut destination).unwrap();
            assert_eq!(destination, oracle(&KEY, 9, &padded), "{provider}, {source_len} in {plain_len}");
        }
    }
}

/// In place, from sources, and back, in a buffer that is longer than the train.
fn check_train(provider: Provider, geometry: Geometry, first_counter: u64) {
    const SPARE: usize = 37;
    let (seal, open) = (seal_key(provider), open_key(provider));
    let counters = ascending(first_counter, geometry.count());
    let plain = plain_train(geometry, geometry.count());
    let expected = oracle_train(&KEY, &counters, &plain, geometry);
    let context = format!("{provider}, {geometry:?}");

    let mut buf = [&plain[..], &[0xdd; SPARE]].concat();
    seal.seal_train(first_counter, &mut buf, geometry).unwrap();
    assert!(buf[..expected.len()] == expected, "seal_train, {context}");
    assert_eq!(buf[expected.len()..], [0xdd; SPARE], "bytes behind the train, {context}");

    let mut buf = [&plain[..], &[0xdd; SPARE]].concat();
    for segment in buf[..plain.len()].chunks_mut(geometry.stride()) {
        segment[HEADER_LEN..].fill(0xee);
    }
    let sources: Vec<_> = plain.chunks(geometry.stride()).map(|segment| halves(text(segment))).collect();
    seal.seal_train_from(first_counter, &sources, &mut buf, geometry).unwrap();
    assert!(buf[..expected.len()] == expected, "seal_train_from, {context}");

    let verdicts = open.open_train(&counters, &mut buf, geometry).unwrap();
    assert!(verdicts.all_passed() && verdicts.count() == geometry.count(), "{verdicts:?}, {context}");
    let opened = buf[..plain.len()].chunks(geometry.stride());
    for ((opened, plain), sealed) in opened.zip(plain.chunks(geometry.stride())).zip(expected.chunks(geometry.stride()))
    {
        assert!(text(opened) == text(plain), "open_train, {context}");
        assert_eq!(opened[..HEADER_LEN], plain[..HEADER_LEN], "header, {context}");
        assert_eq!(opened[opened.len() - TAG_LEN..], sealed[sealed.len() - TAG_LEN..], "tag, {context}");
    }
    assert_eq!(buf[plain.len()..], [0xdd; SPARE], "bytes behind the train, {context}");
}

fn halves(text: &[u8]) -> Source<'_> {
    let (head, body) = text.split_at(text.len() / 2);
    Source { head, body }
}

#[test]
fn trains_of_every_count() {
    for provider in providers() {
        for count in 1..=SEGMENTS_MAX {
            for (stride, last) in [(32, 32), (96, 33), (609, 608), (1452, 1000)] {
                check_train(provider, Geometry::new(stride, last, count).unwrap(), 1 << 33);
            }
        }
    }
}

#[test]
fn the_highest_counters() {
    let geometry = Geometry::new(64, 40, 5).unwrap();
    for provider in providers() {
        check_train(provider, geometry, u64::MAX - 5);
    }
}

#[test]
fn the_longest_segment() {
    let geometry = Geometry::single(65535).unwrap();
    for provider in providers() {
        check_train(provider, geometry, 0);
    }
}

#[test]
fn counters_of_a_received_train_need_no_order() {
    let geometry = Geometry::new(100, 90, 4).unwrap();
    let counters = [7, u64::MAX, 0, 1 << 40];
    let plain = plain_train(geometry, 1);
    for provider in providers() {
        let mut buf = oracle_train(&KEY, &counters, &plain, geometry);
        let verdicts = open_key(provider).open_train(&counters, &mut buf, geometry).unwrap();
        assert_eq!(verdicts.bits(), 0b1111);
        assert!(buf.chunks(100).zip(plain.chunks(100)).all(|(opened, plain)| text(opened) == text(plain)));
    }
}

proptest! {
    #[test]
    fn any_train(stride in 32usize..1600, short in 0usize..1600, count in 1usize..=64, first in any::<u64>()) {
        let last = (stride - short.min(stride)).max(32);
        for provider in providers() {
            check_train(provider, Geometry::new(stride, last, count).unwrap(), first.min(u64::MAX - 64));
        }
    }

    #[test]
    fn any_key_and_message(
        key in any::<[u8; 32]>(), counter in any::<u64>(),
        plaintext in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let expected = oracle(&key, counter, &plaintext);
        for provider in providers() {
            let mut sealed = vec![0; plaintext.len() + TAG_LEN];
            SealKey::new(Plan::fixed(provider), SUITE, &key).seal_from(counter, &plaintext, &mut sealed).unwrap();
            prop_assert_eq!(&sealed, &expected);
            OpenKey::new(Plan::fixed(provider), SUITE, &key).open(counter, &mut sealed).unwrap();
            prop_assert_eq!(&sealed[..plaintext.len()], &plaintext[..]);
        }
    }
}
