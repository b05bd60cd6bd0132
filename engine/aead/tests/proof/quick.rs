//! A second's worth of the proof, of the kernels across trains only: `scripts/mutants` runs it on each mutant. It looks
//! at the lengths and counts at which the kernel changes its ways.

use ringfort_aead::{Geometry, HEADER_LEN, Message, OnFailure, Provider, SEGMENTS_MAX, Source, Suite, TAG_LEN};

use crate::accumulator;
use crate::guarded::{Flush, Guarded};
use crate::oracle::{KEY, Oracle, Repeatable, ascending, text};
use crate::subject::Subject;

const LENS: [usize; 28] = [
    0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 192, 240, 255, 256, 257, 447, 448, 512, 576, 960, 1024, 1025, 1420,
    1984, 2000, 2060, 4080,
];
const COUNTS: [usize; 14] = [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 32, 33, SEGMENTS_MAX];

/// The kernels over arrays, and over registers where they are; and that for AVX2.
fn subjects() -> impl Iterator<Item = Subject> {
    Subject::all().into_iter().filter(|subject| !matches!(subject.provider, Provider::RustCrypto | Provider::AwsLc))
}

#[test]
fn trains() {
    subjects().for_each(trains_of);
}

/// Lone messages of just these lengths, which other tests draw.
#[test]
fn lone_messages() {
    for subject in subjects() {
        LENS.iter().for_each(|&len| seal_and_open(subject, &KEY, len, 1));
    }
}

/// Half of all keys for hashes have their highest bit.
#[test]
fn several_keys() {
    for subject in subjects() {
        for n in 0..8 {
            let mut key = KEY;
            key[0] ^= n;
            seal_and_open(subject, &key, 300, 4);
        }
    }
}

fn seal_and_open(subject: Subject, key: &[u8; 32], len: usize, count: usize) {
    let (seal, open, oracle) = (subject.seal_key(key), subject.open_key(key), Oracle::new(subject.suite, key));
    let stride = len + HEADER_LEN + TAG_LEN;
    let geometry = Geometry::new(stride, stride, count).expect("possible");
    let counters = ascending(7, count);
    let plain = Repeatable(11).bytes(geometry.total_len());
    let (mut sealed, mut expected) = (plain.clone(), plain.clone());
    oracle.seal_train(&counters, &mut expected, geometry);
    seal.seal_train(7, &mut sealed, geometry).expect("it fits");
    assert!(sealed == expected, "{subject}, {count} of {len}");
    let verdicts = open.open_train(&counters, &mut sealed, geometry).expect("it fits");
    assert!((0..count).all(|index| verdicts.passed(index)), "{subject}, {count} of {len}");
    for (sealed, plain) in sealed.chunks(stride).zip(plain.chunks(stride)) {
        assert!(text(sealed) == text(plain), "{subject}, {count} of {len}");
    }
}

fn trains_of(subject: Subject) {
    let (seal, open, oracle) = (subject.seal_key(&KEY), subject.open_key(&KEY), Oracle::new(subject.suite, &KEY));
    let mut memory = Guarded::new(SEGMENTS_MAX * 4112);
    let mut rng = Repeatable(10);
    let on_failure = subject.provider.on_failure();
    for (len, count) in LENS.iter().flat_map(|&len| COUNTS.map(|count| (len, count))) {
        let last = if count % 2 == 0 { len } else { rng.below(len + 1) };
        let geometry = Geometry::new(len + HEADER_LEN + TAG_LEN, last + HEADER_LEN + TAG_LEN, count).expect("possible");
        // Across the border of the counters' halves.
        let counters = ascending(u64::from(u32::MAX) - rng.below(count) as u64, count);
        let mut plain = rng.bytes(geometry.total_len());
        // Zeros at the end of each text, which its source leaves out.
        let paddings: Vec<usize> = (0..count).map(|i| rng.below(17).min(geometry.plaintext_len(i))).collect();
        for (segment, padding) in plain.chunks_mut(geometry.stride()).zip(&paddings) {
            let end = segment.len() - TAG_LEN;
            segment[end - padding..end].fill(0);
        }
        let mut sealed = plain.clone();
        oracle.seal_train(&counters, &mut sealed, geometry);
        let buf = memory.flush(Flush::BOTH[rng.below(2)], plain.len());

        buf.copy_from_slice(&plain);
        seal.seal_train(counters[0], buf, geometry).expect("it fits");
        assert!(buf == sealed, "seal_train, {geometry:?}");

        let sources: Vec<Source<'_>> = plain
            .chunks(geometry.stride())
            .zip(&paddings)
            .map(|(segment, padding)| &text(segment)[..text(segment).len() - padding])
            .map(|source| source.split_at(rng.below(source.len() + 1)))
            .map(|(head, body)| Source { head, body })
            .collect();
        buf.chunks_mut(geometry.stride()).for_each(|segment| segment[HEADER_LEN..].fill(0xee));
        seal.seal_train_from(counters[0], &sources, buf, geometry).expect("it fits");
        assert!(buf == sealed, "seal_train_from, {geometry:?}");

        let bad = rng.below(count);
        let at = bad * geometry.stride() + HEADER_LEN + rng.below(geometry.segment_len(bad) - HEADER_LEN);
        buf[at] ^= 1 << rng.below(8);
        sealed[at] = buf[at];
        let verdicts = open.open_train(&counters, buf, geometry).expect("it fits");
        assert_eq!(verdicts.bits(), (u64::MAX >> (64 - count)) & !(1 << bad), "open_train, {geometry:?}");
        for (index, segment) in sealed.chunks_mut(geometry.stride()).enumerate() {
            let end = segment.len() - TAG_LEN;
            let text = &mut segment[HEADER_LEN..end];
            match on_failure {
                _ if index != bad => text.copy_from_slice(&plain[index * geometry.stride()..][HEADER_LEN..end]),
                OnFailure::Unchanged => {}
                OnFailure::Zeroed => text.fill(0),
            }
        }
        assert!(buf == sealed, "open_train, {geometry:?}");
    }
}

#[test]
fn mixed_lengths() {
    subjects().for_each(mixed_lengths_of);
}

fn mixed_lengths_of(subject: Subject) {
    let (seal, open, oracle) = (subject.seal_key(&KEY), subject.open_key(&KEY), Oracle::new(subject.suite, &KEY));
    let (mut rng, mut forger) = (Repeatable(11), Repeatable(12));
    for (count, round) in COUNTS.iter().flat_map(|&count| (0..8).map(move |round| (count, round))) {
        let lens: Vec<usize> = (0..count).map(|_| LENS[rng.below(LENS.len())]).collect();
        let texts: Vec<Vec<u8>> = lens.iter().map(|len| rng.bytes(*len)).collect();
        let counters: Vec<u64> = (0..count).map(|_| rng.next()).collect();
        let mut bodies: Vec<Vec<u8>> = texts.iter().map(|text| [&text[..], &[0; TAG_LEN]].concat()).collect();
        seal.seal_batch(&mut batch(&mut bodies, &counters)).expect("possible");
        for ((body, text), counter) in bodies.iter().zip(&texts).zip(&counters) {
            assert!(*body == oracle.sealed(*counter, text), "seal_batch of {count}");
        }
        // In every other round, one of them is forged.
        let forged = (round % 2 == 1).then(|| forger.below(count));
        if let Some(tag) = forged.and_then(|forged| bodies[forged].last_mut()) {
            *tag ^= 1;
        }
        let verdicts = open.open_batch(&mut batch(&mut bodies, &counters)).expect("possible");
        for (index, (body, text)) in bodies.iter().zip(&texts).enumerate() {
            assert_eq!(verdicts.passed(index), forged != Some(index), "open_batch of {count}, {index}");
            assert!(!verdicts.passed(index) || body[..text.len()] == text[..], "open_batch of {count}, {index}");
        }
    }
}

fn batch<'a>(bodies: &'a mut [Vec<u8>], counters: &[u64]) -> Vec<Message<'a>> {
    let messages = bodies.iter_mut().zip(counters);
    messages.map(|(body, counter)| Message::of_body(*counter, body).expect("it has a tag")).collect()
}

/// Every byte of every tag, in every place of a group.
#[test]
fn tags() {
    subjects().for_each(tags_of);
}

fn tags_of(subject: Subject) {
    let (open, oracle) = (subject.open_key(&KEY), Oracle::new(subject.suite, &KEY));
    for (count, bit) in [1, 2, 4, 8, 20].iter().flat_map(|&count| (0..TAG_LEN * 8).map(move |bit| (count, bit))) {
        let counters = ascending(0, count);
        let mut bodies: Vec<Vec<u8>> = counters.iter().map(|counter| oracle.sealed(*counter, &[1; 20])).collect();
        bodies[bit % count][20 + bit / 8] ^= 1 << (bit % 8);
        let verdicts = open.open_batch(&mut batch(&mut bodies, &counters)).expect("possible");
        assert_eq!(
            verdicts.bits(),
            (u64::MAX >> (64 - count)) & !(1 << (bit % count)),
            "bit {bit} in a batch of {count}"
        );
    }
}

#[test]
fn sums_at_the_edges() {
    let subjects: Vec<_> = subjects().filter(|subject| subject.suite == Suite::ChaCha20Poly1305).collect();
    for count in [1, 2, 4, 8] {
        accumulator::check_edges(&subjects, count, 40, 2);
        accumulator::check_edges(&subjects, count, 300, 9);
    }
}
