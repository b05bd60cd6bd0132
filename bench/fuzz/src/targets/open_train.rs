//! Trains that were changed on their way: each segment stands for itself, and of one that fails nothing is seen.
//!
//! The input: suite and provider (one byte), stride, last segment and count, then the changes: a place (two bytes) and
//! what is flipped there (one byte). Places beyond the train are bits of the counters that the train is opened with.

use ringfort_aead::{Geometry, HEADER_LEN, SEGMENT_LEN_MIN, TAG_LEN};

use crate::Seed;
use crate::aead::{Keys, pattern};
use crate::input::Input;

const FIRST_COUNTER: u64 = 1 << 33;
/// So that no input takes long: 16 × 300 bytes at the most.
const COUNT_MAX: u8 = 16;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let keys = &Keys::all()[usize::from(input.byte()) % Keys::all().len()];
    let stride = SEGMENT_LEN_MIN + usize::from(input.byte());
    let last = SEGMENT_LEN_MIN + usize::from(input.byte()) % (stride - SEGMENT_LEN_MIN + 1);
    let count = 1 + input.byte() % COUNT_MAX;
    let geometry = Geometry::new(stride, last, count.into()).expect("within the limits by construction");

    let plain = pattern(geometry.total_len());
    let mut sealed = plain.clone();
    keys.seal.seal_train(FIRST_COUNTER, &mut sealed, geometry).expect("the buffer is as long as the train");

    let mut received = sealed.clone();
    let mut counters: Vec<u64> = (FIRST_COUNTER..).take(geometry.count()).collect();
    while !input.is_empty() {
        flip(&mut received, &mut counters, usize::from(input.u16()), input.byte());
    }
    let arrived = received.clone();
    let verdicts = keys.open.open_train(&counters, &mut received, geometry).expect("one counter for each segment");
    assert_eq!(verdicts.count(), geometry.count());
    for (segment, passed) in verdicts.iter().enumerate() {
        let range = segment * stride..segment * stride + geometry.segment_len(segment);
        let counter_is_right = counters[segment] == FIRST_COUNTER + segment as u64;
        let [plain, sealed, arrived, received] =
            [&plain, &sealed, &arrived, &received].map(|train| Parts::of(&train[range.clone()]));
        let is_genuine = arrived.text == sealed.text && arrived.tag == sealed.tag && counter_is_right;
        assert_eq!(passed, is_genuine, "segment {segment} of {}", keys.provider);
        assert_eq!(received.header, arrived.header, "headers are the caller's");
        if passed {
            assert_eq!(received.text, plain.text);
        } else {
            keys.unseen(arrived.text, received.text);
            assert_eq!(received.tag, arrived.tag);
        }
    }
}

fn flip(train: &mut [u8], counters: &mut [u64], at: usize, bits: u8) {
    match train.get_mut(at) {
        Some(byte) => *byte ^= bits,
        None => {
            let counter = (at - train.len()) % counters.len();
            counters[counter] ^= u64::from(bits) << ((at - train.len()) / counters.len() % 8 * 8);
        }
    }
}

struct Parts<'a> {
    header: &'a [u8],
    text: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(segment: &'a [u8]) -> Self {
        let (header, rest) = segment.split_at(HEADER_LEN);
        let (text, tag) = rest.split_at(rest.len() - TAG_LEN);
        Self { header, text, tag }
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let change = |at: u16, bits: u8| [at.to_le_bytes()[0], at.to_le_bytes()[1], bits];
    let train = |provider: u8, changes: &[[u8; 3]]| [&[provider, 68, 68, 4], &changes.concat()[..]].concat();
    vec![
        Seed::new("whole-rustcrypto", train(0, &[])),
        Seed::new("whole-aws-lc", train(1, &[])),
        Seed::new("text-rustcrypto", train(0, &[change(116, 1)])),
        Seed::new("text-aws-lc", train(1, &[change(116, 0x80)])),
        Seed::new("tag", train(1, &[change(199, 1)])),
        Seed::new("header", train(1, &[change(100, 0xff), change(0, 4)])),
        Seed::new("counter", train(1, &[change(500, 1), change(533, 2)])),
        Seed::new("all-but-one", train(0, &[change(90, 1), change(190, 1), change(290, 1), change(490, 1)])),
        Seed::new("keepalives", vec![1, 0, 0, 15, 40, 0, 1]),
        Seed::new("short-last", vec![0, 200, 7, 11, 255, 5, 3]),
        Seed::new("flipped-there-and-back", train(0, &[change(116, 9), change(116, 9)])),
    ]
}
