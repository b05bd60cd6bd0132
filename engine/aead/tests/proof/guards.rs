//! Every buffer and every source in a mapping of its own, flush with one guard page or the other: nothing is read or
//! written beside what was lent. The buffers of the sweep are as well; here there are single messages, batches whose
//! messages differ in length and lie anywhere, and sources.

use ringfort_aead::{Geometry, HEADER_LEN, Message, SEGMENTS_MAX, Source, TAG_LEN};

use crate::guarded::{Flush, Guarded};
use crate::oracle::{KEY, Oracle, Repeatable, TEXT_LEN_MAX, ascending};
use crate::subject::Subject;

fn places(count: usize) -> Vec<Guarded> {
    (0..count).map(|_| Guarded::new(TEXT_LEN_MAX + TAG_LEN)).collect()
}

#[test]
fn single_messages_of_every_length() {
    let (mut text_place, mut tag_place) = (Guarded::new(TEXT_LEN_MAX + TAG_LEN), Guarded::new(TAG_LEN));
    let (mut source_place, mut rng) = (Guarded::new(TEXT_LEN_MAX), Repeatable(2));
    for subject in Subject::all() {
        let (seal, open, oracle) = (subject.seal_key(&KEY), subject.open_key(&KEY), Oracle::new(subject.suite, &KEY));
        for len in 0..=TEXT_LEN_MAX {
            let (counter, text) = (rng.next(), rng.bytes(len));
            let expected = oracle.sealed(counter, &text);
            for at in Flush::BOTH {
                let context = format!("{subject}, {len} bytes, {at:?}");
                let buf = text_place.flush(at, len);
                buf.copy_from_slice(&text);
                let tag: &mut [u8; TAG_LEN] = tag_place.flush(at, TAG_LEN).try_into().expect("the length of a tag");
                seal.seal(counter, buf, &mut *tag).expect("it fits");
                assert!(*buf == expected[..len] && tag[..] == expected[len..], "seal, {context}");

                let source = source_place.flush(at, len);
                source.copy_from_slice(&text);
                let buf = text_place.flush(at, len + TAG_LEN);
                seal.seal_from(counter, source, buf).expect("it fits");
                assert!(*buf == expected, "seal_from, {context}");
                open.open(counter, buf).expect("it is genuine");
                assert!(buf[..len] == text && buf[len..] == expected[len..], "open, {context}");
                assert!(*source == text, "the source, {context}");
            }
        }
    }
}

/// Lengths of a batch: equal ones, any, neighbours, two sizes mixed, and those around whole blocks.
fn lens(rng: &mut Repeatable, kind: usize, count: usize) -> Vec<usize> {
    let base = rng.below(TEXT_LEN_MAX);
    let len = |index: usize, rng: &mut Repeatable| match kind {
        0 => base,
        1 => rng.below(TEXT_LEN_MAX + 1),
        2 => base.min(TEXT_LEN_MAX - SEGMENTS_MAX) + index,
        3 => [64, 1420][rng.below(2)],
        4 => (rng.below(20) * 64 + rng.below(5)).saturating_sub(2),
        _ => rng.below(48),
    };
    (0..count).map(|index| len(index, rng)).map(|len| len.min(TEXT_LEN_MAX)).collect()
}

#[test]
fn batches_of_any_lengths() {
    let mut places = places(SEGMENTS_MAX);
    let mut rng = Repeatable(3);
    for subject in Subject::all() {
        let (seal, open, oracle) = (subject.seal_key(&KEY), subject.open_key(&KEY), Oracle::new(subject.suite, &KEY));
        for (count, kind) in (1..=SEGMENTS_MAX).flat_map(|count| (0..6).map(move |kind| (count, kind))) {
            let lens = lens(&mut rng, kind, count);
            let context = format!("{subject}, {lens:?}");
            // Counters in no order, flush with either guard: a batch asks for nothing more.
            let counters: Vec<u64> = (0..count).map(|_| rng.next()).collect();
            let texts: Vec<Vec<u8>> = lens.iter().map(|&len| rng.bytes(len)).collect();
            let ends: Vec<Flush> = (0..count).map(|_| Flush::BOTH[rng.below(2)]).collect();
            let bodies = || texts.iter().zip(&ends).map(|(text, end)| (*end, text.len() + TAG_LEN));
            for ((place, text), (end, len)) in places.iter_mut().zip(&texts).zip(bodies()) {
                place.flush(end, len)[..text.len()].copy_from_slice(text);
            }
            seal.seal_batch(&mut batch(&mut places, bodies(), &counters)).expect("possible");
            for (((place, text), (end, len)), counter) in places.iter_mut().zip(&texts).zip(bodies()).zip(&counters) {
                assert!(*place.flush(end, len) == oracle.sealed(*counter, text), "seal_batch, {context}");
            }
            let verdicts = open.open_batch(&mut batch(&mut places, bodies(), &counters)).expect("possible");
            assert!(verdicts.all_passed() && verdicts.count() == count, "open_batch, {context}");
            for ((place, text), (end, len)) in places.iter_mut().zip(&texts).zip(bodies()) {
                assert!(place.flush(end, len)[..text.len()] == text[..], "open_batch, {context}");
            }
        }
    }
}

fn batch<'a>(
    places: &'a mut [Guarded],
    bodies: impl Iterator<Item = (Flush, usize)>,
    counters: &[u64],
) -> Vec<Message<'a>> {
    let bodies = places.iter_mut().zip(bodies).map(|(place, (end, len))| place.flush(end, len));
    bodies.zip(counters).map(|(body, counter)| Message::of_body(*counter, body).expect("it has a tag")).collect()
}

/// Text and tag of a message need not be neighbours: each between guard pages of its own.
#[test]
fn texts_apart_from_their_tags() {
    let (mut text_places, mut tag_places) = (places(9), places(9));
    let mut rng = Repeatable(8);
    for subject in Subject::all() {
        let (seal, open, oracle) = (subject.seal_key(&KEY), subject.open_key(&KEY), Oracle::new(subject.suite, &KEY));
        for (count, at) in (1..=9).flat_map(|count| Flush::BOTH.map(|at| (count, at))) {
            let lens: Vec<usize> = (0..count).map(|_| rng.below(300)).collect();
            let texts: Vec<Vec<u8>> = lens.iter().map(|len| rng.bytes(*len)).collect();
            let mut batch = Vec::new();
            for ((text, place), tag) in texts.iter().zip(&mut text_places).zip(&mut tag_places) {
                let body = place.flush(at, text.len());
                body.copy_from_slice(text);
                let tag = tag.flush(at, TAG_LEN).try_into().expect("the length of a tag");
                batch.push(Message::new(batch.len() as u64, body, tag));
            }
            seal.seal_batch(&mut batch).expect("possible");
            assert!(open.open_batch(&mut batch).expect("possible").all_passed(), "{subject}, {lens:?}");
            for (index, text) in texts.iter().enumerate() {
                assert!(*text_places[index].flush(at, text.len()) == text[..], "{subject}, {lens:?}");
                let expected = &oracle.sealed(index as u64, text)[text.len()..];
                assert!(*tag_places[index].flush(at, TAG_LEN) == *expected, "{subject}, {lens:?}");
            }
        }
    }
}

#[test]
fn sources_of_trains() {
    let (mut heads, mut bodies) = (places(SEGMENTS_MAX), places(SEGMENTS_MAX));
    let mut train_place = Guarded::new(SEGMENTS_MAX * (TEXT_LEN_MAX + HEADER_LEN + TAG_LEN));
    let mut rng = Repeatable(4);
    for subject in Subject::all() {
        let (seal, oracle) = (subject.seal_key(&KEY), Oracle::new(subject.suite, &KEY));
        for (count, round) in (1..=SEGMENTS_MAX).flat_map(|count| (0..8).map(move |round| (count, round))) {
            let len = [rng.below(TEXT_LEN_MAX + 1), rng.below(100), 1420, 64 * rng.below(31)][round % 4];
            let last = if round < 4 { len } else { rng.below(len + 1) };
            let overhead = HEADER_LEN + TAG_LEN;
            let geometry = Geometry::new(len + overhead, last + overhead, count).expect("possible");
            let context = format!("{subject}, {geometry:?}");
            let mut expected = vec![0xa5; geometry.total_len()];
            let mut sources = Vec::new();
            let segments = expected.chunks_mut(geometry.stride());
            for (segment, (head, body)) in segments.zip(heads.iter_mut().zip(bodies.iter_mut())) {
                let room = segment.len() - overhead;
                let source_len = room - rng.below(17).min(room);
                let (head_len, at) = (rng.below(source_len + 1), Flush::BOTH[rng.below(2)]);
                let (head, body) = (head.flush(at, head_len), body.flush(at, source_len - head_len));
                rng.fill(head);
                rng.fill(body);
                let text = &mut segment[HEADER_LEN..][..room];
                text.fill(0);
                text[..head_len].copy_from_slice(head);
                text[head_len..source_len].copy_from_slice(body);
                sources.push(Source { head, body });
            }
            let first = rng.next().min(u64::MAX - 64);
            oracle.seal_train(&ascending(first, count), &mut expected, geometry);
            for at in Flush::BOTH {
                let buf = train_place.flush(at, expected.len());
                buf.fill(0xa5);
                seal.seal_train_from(first, &sources, buf, geometry).expect("it fits");
                assert!(*buf == expected, "seal_train_from, {context}");
            }
        }
    }
}
