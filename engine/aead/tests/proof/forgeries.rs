//! What does not verify shows nothing, and touches nothing. The tests flip every single bit of trains of every count
//! that a kernel across packets may group in its own way.

use std::collections::HashSet;

use ringfort_aead::{Geometry, HEADER_LEN, Message, OnFailure, OpenKey, SEGMENTS_MAX, TAG_LEN};

use crate::guarded::{Flush, Guarded};
use crate::oracle::{KEY, Oracle, Repeatable, ascending, text};
use crate::subject::Subject;

/// Bytes of plaintext that count as seen: chance does not produce them.
const SEEN: usize = 8;

struct Train {
    subject: Subject,
    open: OpenKey,
    geometry: Geometry,
    counters: Vec<u64>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    memory: Guarded,
}

impl Train {
    fn new(subject: Subject, geometry: Geometry) -> Self {
        let plain = Repeatable(geometry.total_len() as u64).bytes(geometry.total_len());
        let counters = ascending(1 << 35, geometry.count());
        let mut sealed = plain.clone();
        Oracle::new(subject.suite, &KEY).seal_train(&counters, &mut sealed, geometry);
        let memory = Guarded::new(geometry.total_len());
        Self { subject, open: subject.open_key(&KEY), geometry, counters, plain, sealed, memory }
    }

    /// Opens `offered` and expects the segments in `bad`, and no others, to fail.
    fn check(&mut self, offered: &[u8], bad: u64, what: &str) {
        let (geometry, subject) = (self.geometry, self.subject);
        let buf = self.memory.back(geometry.total_len());
        buf.copy_from_slice(offered);
        let verdicts = self.open.open_train(&self.counters, buf, geometry).expect("it fits");
        let all = u64::MAX >> (64 - geometry.count());
        assert_eq!(verdicts.bits(), all & !bad, "{subject}: {what} of {geometry:?}");
        let mut hidden = HashSet::new();
        for segment in 0..geometry.count() {
            let range = segment * geometry.stride()..segment * geometry.stride() + geometry.segment_len(segment);
            let (now, before, plain) = (&buf[range.clone()], &offered[range.clone()], &self.plain[range]);
            assert!(now[..HEADER_LEN] == before[..HEADER_LEN], "{subject}: header {segment}, {what}");
            let tag = now.len() - TAG_LEN;
            assert!(now[tag..] == before[tag..], "{subject}: tag {segment}, {what}");
            let expected = match (bad >> segment & 1, subject.provider.on_failure()) {
                (0, _) => text(plain).to_vec(),
                (_, OnFailure::Unchanged) => text(before).to_vec(),
                (_, OnFailure::Zeroed) => vec![0; text(before).len()],
            };
            assert!(text(now) == expected, "{subject}: text {segment}, {what}");
            if bad >> segment & 1 == 1 {
                hidden.extend(text(plain).windows(SEEN));
            }
        }
        let seen = buf.windows(SEEN).any(|window| hidden.contains(window));
        assert!(!seen, "{subject}: plaintext that did not verify is in the buffer, {what}");
    }
}

#[test]
fn each_single_bit() {
    for subject in Subject::all() {
        // One to four segments, and a group of eight with one left over; some blocks each.
        for (len, last, count) in [(150, 150, 1), (70, 33, 2), (20, 20, 3), (131, 64, 4), (21, 9, 9)] {
            let geometry =
                Geometry::new(len + HEADER_LEN + TAG_LEN, last + HEADER_LEN + TAG_LEN, count).expect("possible");
            let mut train = Train::new(subject, geometry);
            for bit in 0..geometry.total_len() * 8 {
                let mut offered = train.sealed.clone();
                offered[bit / 8] ^= 1 << (bit % 8);
                let (segment, place) = (bit / 8 / geometry.stride(), bit / 8 % geometry.stride());
                // The header is the caller's to judge.
                let bad = if place < HEADER_LEN { 0 } else { 1 << segment };
                train.check(&offered, bad, &format!("bit {bit}"));
            }
        }
    }
}

#[test]
fn any_segments_of_trains_of_every_count() {
    let mut rng = Repeatable(6);
    for subject in Subject::all() {
        for count in 1..=SEGMENTS_MAX {
            let len = [65, 200, 576, 15, 1420][count % 5];
            let last = rng.below(len + 1);
            let geometry =
                Geometry::new(len + HEADER_LEN + TAG_LEN, last + HEADER_LEN + TAG_LEN, count).expect("possible");
            let mut train = Train::new(subject, geometry);
            let all = u64::MAX >> (64 - count);
            for bad in [all, all & 0x5555_5555_5555_5555, 1, 1 << (count - 1), all & !1, rng.next() & all, 0] {
                let mut offered = train.sealed.clone();
                for segment in (0..count).filter(|segment| bad >> segment & 1 == 1) {
                    let (start, len) = (segment * geometry.stride(), geometry.segment_len(segment));
                    // In text or tag: the header may be anything.
                    offered[start + HEADER_LEN + rng.below(len - HEADER_LEN)] ^= 1 << rng.below(8);
                }
                train.check(&offered, bad, &format!("{bad:#x}"));
            }
        }
    }
}

/// A tag with one wrong byte is as wrong as any: the comparison looks at all of them, in every place of a
/// batch.
#[test]
fn each_byte_of_each_tag_is_compared() {
    let mut memory = Guarded::new(1 << 16);
    for subject in Subject::all() {
        let (open, oracle) = (subject.open_key(&KEY), Oracle::new(subject.suite, &KEY));
        for count in [1, 2, 4, 8, 11, SEGMENTS_MAX] {
            let sealed: Vec<Vec<u8>> = (0..count).map(|i| oracle.sealed(i as u64, &[i as u8; 40])).collect();
            for (place, byte) in (0..count).flat_map(|place| (0..TAG_LEN).map(move |byte| (place, byte))) {
                let buf = memory.flush(Flush::Back, count * (40 + TAG_LEN));
                buf.copy_from_slice(&sealed.concat());
                buf[place * (40 + TAG_LEN) + 40 + byte] ^= 0x80;
                let bodies = buf.chunks_mut(40 + TAG_LEN).zip(0..);
                let mut batch: Vec<Message<'_>> =
                    bodies.map(|(body, counter)| Message::of_body(counter, body).expect("it has a tag")).collect();
                let verdicts = open.open_batch(&mut batch).expect("possible");
                assert_eq!(verdicts.failed_count(), 1, "{subject}: byte {byte} of tag {place} of {count}");
                assert!(!verdicts.passed(place));
            }
        }
    }
}
