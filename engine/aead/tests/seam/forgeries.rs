//! What does not verify is refused, alone, and never seen as plaintext.

use proptest::prelude::*;
use ringfort_aead::{BadTag, Geometry, HEADER_LEN, OnFailure, OpenKey, Plan, Provider, TAG_LEN};

use crate::common::{KEY, SUITE, ascending, bytes, open_key, oracle, oracle_train, plain_train, providers, text};

/// The text of a refused segment is as the provider promises, and nothing else of it has changed.
fn assert_hidden(provider: Provider, now: &[u8], offered: &[u8]) {
    match provider.on_failure() {
        OnFailure::Unchanged => assert_eq!(text(now), text(offered), "{provider}"),
        OnFailure::Zeroed => assert!(text(now).iter().all(|byte| *byte == 0), "{provider}"),
    }
    assert_eq!(now[..HEADER_LEN], offered[..HEADER_LEN], "{provider}: header");
    assert_eq!(now[now.len() - TAG_LEN..], offered[offered.len() - TAG_LEN..], "{provider}: tag");
}

/// Opens `offered` and expects just the segments of `bad` to fail.
fn check(provider: Provider, geometry: Geometry, counters: &[u64], plain: &[u8], offered: &[u8], bad: u64) {
    let mut buf = offered.to_vec();
    let verdicts = open_key(provider).open_train(counters, &mut buf, geometry).unwrap();
    let all = u64::MAX >> (64 - geometry.count());
    assert_eq!(verdicts.bits(), all & !bad, "{provider}, bad {bad:#x}");
    assert_eq!(verdicts.failed_count(), bad.count_ones() as usize);
    assert_eq!(verdicts.all_passed(), bad == 0);
    let stride = geometry.stride();
    for (index, now) in buf.chunks(stride).enumerate() {
        let range = index * stride..index * stride + now.len();
        assert_eq!(verdicts.passed(index), bad >> index & 1 == 0);
        if bad >> index & 1 == 1 {
            assert_hidden(provider, now, &offered[range]);
        } else {
            assert_eq!(text(now), text(&plain[range]), "{provider}: a good neighbour");
        }
    }
}

#[test]
fn each_bit_of_text_and_tag_is_authenticated() {
    let geometry = Geometry::new(32 + 67, 32 + 5, 3).unwrap();
    let counters = ascending(40, 3);
    let plain = plain_train(geometry, 5);
    let sealed = oracle_train(&KEY, &counters, &plain, geometry);
    for provider in providers() {
        for bit in 0..sealed.len() * 8 {
            let (segment, place) = (bit / 8 / geometry.stride(), bit / 8 % geometry.stride());
            let mut offered = sealed.clone();
            offered[bit / 8] ^= 1 << (bit % 8);
            // The header is the receiver's to judge: a changed counter comes in through the argument.
            let bad = if place < HEADER_LEN { 0 } else { 1 << segment };
            check(provider, geometry, &counters, &plain, &offered, bad);
        }
    }
}

#[test]
fn each_segment_of_a_full_train_fails_alone() {
    let geometry = Geometry::new(200, 77, 64).unwrap();
    let plain = plain_train(geometry, 6);
    let counters = ascending(0, 64);
    let sealed = oracle_train(&KEY, &counters, &plain, geometry);
    for provider in providers() {
        for segment in 0..64 {
            let mut offered = sealed.clone();
            offered[segment * 200 + HEADER_LEN + 20] ^= 0x10;
            check(provider, geometry, &counters, &plain, &offered, 1 << segment);
        }
    }
}

#[test]
fn each_bit_of_the_counter_counts() {
    let geometry = Geometry::new(80, 80, 2).unwrap();
    let plain = plain_train(geometry, 7);
    let sealed = oracle_train(&KEY, &[3, 4], &plain, geometry);
    for provider in providers() {
        for bit in 0..64 {
            check(provider, geometry, &[3, 4 ^ (1 << bit)], &plain, &sealed, 0b10);
        }
        check(provider, geometry, &[4, 3], &plain, &sealed, 0b11);
    }
}

#[test]
fn another_key_opens_nothing() {
    let sealed = oracle(&KEY, 1, b"secret");
    for provider in providers() {
        for bit in 0..256 {
            let mut key = KEY;
            key[bit / 8] ^= 1 << (bit % 8);
            let mut buf = sealed.clone();
            assert_eq!(OpenKey::new(Plan::fixed(provider), SUITE, &key).open(1, &mut buf), Err(BadTag));
        }
    }
}

#[test]
fn a_single_forgery_of_any_length_stays_hidden() {
    for provider in providers() {
        let open = open_key(provider);
        for len in 0..=2000 {
            let mut offered = bytes(HEADER_LEN, 0);
            offered.extend(oracle(&KEY, 2, &bytes(len, 9)));
            *offered.last_mut().unwrap() ^= 1;
            let mut buf = offered.clone();
            assert_eq!(open.open(2, &mut buf[HEADER_LEN..]), Err(BadTag), "{provider}, {len} bytes");
            assert_hidden(provider, &buf, &offered);
        }
    }
}

#[test]
fn what_is_too_short_for_a_tag_is_no_message() {
    for provider in providers() {
        let open = open_key(provider);
        for len in 0..TAG_LEN {
            assert_eq!(open.open(0, &mut vec![0; len]), Err(BadTag));
        }
        assert_eq!(open.open(0, &mut vec![0; 70_000]), Err(BadTag));
    }
}

proptest! {
    #[test]
    fn exactly_the_forged_segments_fail(
        stride in 33usize..400, last in 33usize..400, count in 1usize..=64,
        bad in any::<u64>(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let geometry = Geometry::new(stride, last.min(stride), count).unwrap();
        let counters = ascending(77, count);
        let plain = plain_train(geometry, 8);
        let mut offered = oracle_train(&KEY, &counters, &plain, geometry);
        let bad = bad & (u64::MAX >> (64 - count));
        for (index, segment) in offered.chunks_mut(stride).enumerate() {
            if bad >> index & 1 == 1 {
                segment[HEADER_LEN + at.index(segment.len() - HEADER_LEN)] ^= flip;
            }
        }
        for provider in providers() {
            check(provider, geometry, &counters, &plain, &offered, bad);
        }
    }

    #[test]
    fn no_bytes_from_the_network_panic(
        mut datagram in prop::collection::vec(any::<u8>(), 0..4000), stride in 0usize..3000,
    ) {
        let Ok(geometry) = Geometry::of_received(datagram.len(), stride) else { return Ok(()) };
        prop_assert_eq!(geometry.total_len(), datagram.len());
        for provider in providers() {
            let verdicts = open_key(provider).open_train(&ascending(0, geometry.count()), &mut datagram, geometry);
            prop_assert_eq!(verdicts.unwrap().passed_count(), 0);
        }
    }
}
