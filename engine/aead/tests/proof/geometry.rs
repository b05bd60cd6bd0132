//! What nobody thought of: trains and batches of any shape at any alignment, with any of their segments forged.

use proptest::prelude::*;
use ringfort_aead::{Geometry, HEADER_LEN, Message, OnFailure, Source, Suite, TAG_LEN};

use crate::oracle::{KEY, Oracle, Repeatable, ascending, text};
use crate::subject::Subject;

/// Mostly short ones, so a run has many.
fn text_len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..=80, 3 => 0usize..=600, 2 => 0usize..=1500, 1 => 0usize..=4000]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1usize..=9, 1 => 1usize..=64]
}

/// Length of the text, bytes before it, counter, and whether it is forged.
type Shape = (usize, usize, u64, bool);

/// The messages that lie in `buf` in that order.
fn batch<'a>(mut buf: &'a mut [u8], shapes: &[Shape], counter: impl Fn(u64, bool) -> u64) -> Vec<Message<'a>> {
    let message = |&(len, gap, own, forged): &Shape| {
        let (front, behind) = std::mem::take(&mut buf).split_at_mut(gap + len + TAG_LEN);
        buf = behind;
        Message::of_body(counter(own, forged), &mut front[gap..]).expect("it has a tag")
    };
    shapes.iter().map(message).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_train_at_any_alignment(
        len in text_len(), short in text_len(), count in count(), offset in 0usize..64, spare in 0usize..100,
        first in any::<u64>(), cut in any::<u64>(), forged in any::<u64>(), flip in any::<u64>(), seed in any::<u64>(),
    ) {
        let (stride, last) = (len + HEADER_LEN + TAG_LEN, len - short.min(len) + HEADER_LEN + TAG_LEN);
        let geometry = Geometry::new(stride, last, count).unwrap();
        let (first, mut rng) = (first.min(u64::MAX - 64), Repeatable(seed));
        let range = offset..offset + geometry.total_len();
        let original = rng.bytes(64 + geometry.total_len() + spare);
        for subject in Subject::all() {
            let mut expected = original.clone();
            let oracle = Oracle::new(subject.suite, &KEY);
            oracle.seal_train(&ascending(first, count), &mut expected[range.clone()], geometry);

            // With bytes before the train and behind it, in place.
            let mut buf = original.clone();
            subject.seal_key(&KEY).seal_train(first, &mut buf[offset..], geometry).unwrap();
            prop_assert!(buf == expected, "{} seal_train", subject);

            // From sources, themselves at odd places, over other bytes.
            let sources: Vec<_> = original[range.clone()].chunks(stride).enumerate().map(|(segment, bytes)| {
                let at = (cut >> (segment % 48)) as usize % (text(bytes).len() + 1);
                let (head, body) = text(bytes).split_at(at);
                Source { head, body }
            }).collect();
            let mut buf = original.clone();
            for segment in buf[range.clone()].chunks_mut(stride) {
                segment[HEADER_LEN..].fill(0x3c);
            }
            subject.seal_key(&KEY).seal_train_from(first, &sources, &mut buf[offset..], geometry).unwrap();
            prop_assert!(buf == expected, "{} seal_train_from", subject);

            // Some segments forged.
            let forged = forged & flip & (u64::MAX >> (64 - count));
            for (segment, bytes) in buf[range.clone()].chunks_mut(stride).enumerate() {
                if forged >> segment & 1 == 1 {
                    let bit = (flip.rotate_left(segment as u32) % ((bytes.len() - HEADER_LEN) as u64 * 8)) as usize;
                    bytes[HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
                }
            }
            let offered = buf.clone();
            let (open, counters) = (subject.open_key(&KEY), ascending(first, count));
            let verdicts = open.open_train(&counters, &mut buf[offset..], geometry).unwrap();
            prop_assert_eq!(verdicts.bits(), (u64::MAX >> (64 - count)) & !forged, "{}", subject);
            let mut expected = offered;
            for (segment, bytes) in expected[range.clone()].chunks_mut(stride).enumerate() {
                let end = bytes.len() - TAG_LEN;
                let plain = text(&original[offset + segment * stride..][..bytes.len()]);
                match (forged >> segment & 1, subject.provider.on_failure()) {
                    (1, OnFailure::Unchanged) => {}
                    (1, OnFailure::Zeroed) => bytes[HEADER_LEN..end].fill(0),
                    _ => bytes[HEADER_LEN..end].copy_from_slice(plain),
                }
            }
            prop_assert!(buf == expected, "{} open_train", subject);
        }
    }

    #[test]
    fn a_batch_with_gaps(
        shapes in prop::collection::vec((text_len(), 0usize..70, any::<u64>(), any::<bool>()), 1..=64),
        seed in any::<u64>(),
    ) {
        let total: usize = shapes.iter().map(|(len, gap, ..)| len + gap + TAG_LEN).sum();
        let original = Repeatable(seed).bytes(total);
        for subject in Subject::all() {
            let oracle = Oracle::new(subject.suite, &KEY);
            let (mut buf, mut expected) = (original.clone(), original.clone());
            let mut at = 0;
            for &(len, gap, counter, _) in &shapes {
                let text = at + gap..at + gap + len;
                let sealed = oracle.sealed(counter, &original[text.clone()]);
                expected[text.start..text.end + TAG_LEN].copy_from_slice(&sealed);
                at = text.end + TAG_LEN;
            }
            subject.seal_key(&KEY).seal_batch(&mut batch(&mut buf, &shapes, |counter, _| counter)).unwrap();
            prop_assert!(buf == expected, "{} seal_batch", subject);

            let mut offered = batch(&mut buf, &shapes, |counter, forged| counter ^ u64::from(forged));
            let verdicts = subject.open_key(&KEY).open_batch(&mut offered).unwrap();
            prop_assert!(verdicts.iter().eq(shapes.iter().map(|shape| !shape.3)), "{}: {:?}", subject, verdicts);
            let mut at = 0;
            for &(len, gap, _, forged) in &shapes {
                let text = at + gap..at + gap + len;
                prop_assert!(buf[at..text.start] == original[at..text.start], "{}: a gap", subject);
                let holds = match (forged, subject.provider.on_failure()) {
                    (false, _) => buf[text.clone()] == original[text.clone()],
                    (true, OnFailure::Unchanged) => buf[text.clone()] == expected[text.clone()],
                    (true, OnFailure::Zeroed) => buf[text.clone()].iter().all(|byte| *byte == 0),
                };
                prop_assert!(holds, "{}: open_batch", subject);
                let tag = text.end..text.end + TAG_LEN;
                prop_assert!(buf[tag.clone()] == expected[tag.clone()], "{}: a tag", subject);
                at = tag.end;
            }
        }
    }
}

/// Under one key the two suites have nothing in common: a message of the one is a forgery to the other.
#[test]
fn a_suite_refuses_the_other() {
    for subject in Subject::all() {
        let other = Suite::ALL.into_iter().find(|suite| *suite != subject.suite).expect("there are two");
        let mut body = Oracle::new(other, &KEY).sealed(3, b"sealed with the other suite");
        assert!(subject.open_key(&KEY).open(3, &mut body).is_err(), "{subject}");
    }
}
