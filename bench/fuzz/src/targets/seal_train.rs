//! Trains of any shape at any alignment, sealed in place and from sources that are cut and padded anywhere: every
//! provider yields what the oracle does, and touches nothing beside the train.
//!
//! The input: offset of the train in its buffer (one byte), length of the texts and how much shorter the last one is
//! (two bytes each), count (one byte), first counter (eight bytes); then for each segment where its source is cut and
//! how many bytes of padding it lacks (one byte each).

use ringfort_aead::{Geometry, HEADER_LEN, SEGMENTS_MAX, Source, Suite, TAG_LEN};

use crate::Seed;
use crate::aead::{Keys, oracle, pattern};
use crate::input::Input;

const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// So that no input takes long.
const TEXT_LEN_MAX: usize = 1500;
const TRAIN_LEN_MAX: usize = 8 << 10;
/// Bytes before and behind the train.
const MARGIN: usize = 64;

struct Case {
    offset: usize,
    geometry: Geometry,
    first_counter: u64,
    /// For each segment: the source's length, and where it is cut.
    sources: Vec<(usize, usize)>,
}

impl Case {
    fn read(mut input: Input<'_>) -> Self {
        let offset = usize::from(input.byte()) % MARGIN;
        let len = usize::from(input.u16()) % (TEXT_LEN_MAX + 1);
        let last = len - usize::from(input.u16()) % (len + 1);
        let count_max = (TRAIN_LEN_MAX / (len + OVERHEAD)).min(SEGMENTS_MAX);
        let count = 1 + usize::from(input.byte()) % count_max;
        let geometry =
            Geometry::new(len + OVERHEAD, last + OVERHEAD, count).expect("within the limits by construction");
        let first_counter = input.u64().min(u64::MAX - SEGMENTS_MAX as u64);
        let source = |segment| {
            let (cut, padding) = (usize::from(input.byte()), usize::from(input.byte()));
            let len = geometry.plaintext_len(segment).saturating_sub(padding % 64);
            // Short heads as they are, others in proportion.
            (len, if cut < 100 { cut.min(len) } else { len * (cut - 100) / 155 })
        };
        let sources = (0..count).map(source).collect();
        Self { offset, geometry, first_counter, sources }
    }

    /// The buffer with its margins before sealing: texts with their padding, and anything where the tags will be.
    fn plain(&self) -> Vec<u8> {
        let mut buf = pattern(MARGIN + self.geometry.total_len() + MARGIN);
        for (segment, (source_len, _)) in self.segments(&mut buf).zip(&self.sources) {
            let text = segment.len() - TAG_LEN;
            segment[HEADER_LEN + source_len..text].fill(0);
        }
        buf
    }

    fn segments<'a>(&self, buf: &'a mut [u8]) -> impl Iterator<Item = &'a mut [u8]> + use<'a> {
        buf[self.offset..][..self.geometry.total_len()].chunks_mut(self.geometry.stride())
    }
}

pub(super) fn run(data: &[u8]) {
    let case = Case::read(Input::new(data));
    let plain = case.plain();
    for suite in Suite::ALL {
        let mut expected = plain.clone();
        for (segment, counter) in case.segments(&mut expected).zip(case.first_counter..) {
            let (text, tag) = segment[HEADER_LEN..].split_last_chunk_mut().expect("a segment has a tag");
            *tag = oracle(suite, counter, text);
        }
        Keys::of(suite).for_each(|keys| check(keys, &case, &plain, &expected));
    }
}

fn check(keys: &Keys, case: &Case, plain: &[u8], expected: &[u8]) {
    let mut buf = plain.to_vec();
    keys.seal.seal_train(case.first_counter, &mut buf[case.offset..], case.geometry).expect("it fits");
    assert!(buf == expected, "{}/{} in place", keys.provider, keys.suite);

    let (mut origin, mut buf) = (plain.to_vec(), plain.to_vec());
    let sources = case.segments(&mut origin).zip(&case.sources).map(|(segment, (len, cut))| {
        let (head, body) = segment[HEADER_LEN..][..*len].split_at(*cut);
        Source { head, body }
    });
    let sources: Vec<_> = sources.collect();
    case.segments(&mut buf).for_each(|segment| segment[HEADER_LEN..].fill(0xee));
    let sealed = keys.seal.seal_train_from(case.first_counter, &sources, &mut buf[case.offset..], case.geometry);
    sealed.expect("it fits");
    assert!(buf == expected, "{}/{} from sources", keys.provider, keys.suite);
}

pub(super) fn seeds() -> Vec<Seed> {
    let train = |offset: u8, len: u16, shorter: u16, count: u8, first: u64, sources: &[u8]| {
        let numbers = [&len.to_le_bytes()[..], &shorter.to_le_bytes(), &[count], &first.to_le_bytes()].concat();
        [&[offset], &numbers[..], sources].concat()
    };
    vec![
        Seed::new("lone", train(0, 84, 0, 0, 0, &[])),
        Seed::new("full-packets", train(0, 1420, 0, 9, 1, &[40, 0, 40, 0, 40, 12])),
        Seed::new("ragged", train(7, 1420, 900, 6, 1 << 33, &[40; 14])),
        Seed::new("keepalives", train(1, 0, 0, 63, 77, &[])),
        Seed::new("one-byte", train(63, 1, 1, 40, 5, &[0, 1, 1, 0])),
        Seed::new("around-a-block", train(3, 65, 1, 16, 8, &[64, 1, 63, 2, 65, 0])),
        Seed::new("low-half-wraps", train(0, 100, 3, 20, (1 << 32) - 9, &[200; 40])),
        Seed::new("last-counters", train(0, 33, 0, 62, u64::MAX, &[16; 64])),
        Seed::new("padded", train(16, 256, 20, 11, 3, &[20, 15, 100, 63, 255, 16, 0, 1])),
    ]
}
