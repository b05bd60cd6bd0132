//! Packets that are longer than those of the sweep. In AES-256-GCM the text's first block has number 2, so the number
//! takes a second byte behind 4064 bytes of text; the longest text of a message ends in the 4096th block.

use ringfort_aead::{Geometry, HEADER_LEN, OnFailure, Source, TAG_LEN};

use crate::guarded::Guarded;
use crate::oracle::{KEY, Oracle, Repeatable, ascending, text};
use crate::subject::Subject;

const LENS: [usize; 6] = [4048, 4064, 4065, 4080, 9000, 65503];

#[test]
fn trains_of_long_packets() {
    for (subject, len) in Subject::all().into_iter().flat_map(|subject| LENS.map(|len| (subject, len))) {
        // Alone, two side by side, and more than any kernel has pairs of.
        let counts: &[usize] = if len < 10_000 { &[1, 2, 5] } else { &[1, 2] };
        counts.iter().for_each(|count| check(subject, len, *count));
    }
}

fn check(subject: Subject, len: usize, count: usize) {
    let what = format!("{subject}, {count} × {len} B");
    let stride = len + HEADER_LEN + TAG_LEN;
    let geometry = Geometry::new(stride, stride, count).expect("possible");
    let (seal, open) = (subject.seal_key(&KEY), subject.open_key(&KEY));
    let mut rng = Repeatable(len as u64);
    let counters = ascending(1 << 40, count);
    let plain = rng.bytes(geometry.total_len());
    let mut sealed = plain.clone();
    Oracle::new(subject.suite, &KEY).seal_train(&counters, &mut sealed, geometry);
    let mut memory = Guarded::new(plain.len());
    let buf = memory.back(plain.len());

    buf.copy_from_slice(&plain);
    seal.seal_train(counters[0], buf, geometry).expect("it fits");
    assert!(buf == sealed, "seal_train, {what}");

    let texts = plain.chunks(stride).map(text);
    let pieces = texts.map(|text| text.split_at(rng.below(len + 1)));
    let sources: Vec<_> = pieces.map(|(head, body)| Source { head, body }).collect();
    buf.chunks_mut(stride).for_each(|segment| segment[HEADER_LEN..].fill(0xee));
    seal.seal_train_from(counters[0], &sources, buf, geometry).expect("it fits");
    assert!(buf == sealed, "seal_train_from, {what}");

    // None is forged, and each in turn: in the last byte of its text.
    for bad in (0..count).map(Some).chain([None]) {
        buf.copy_from_slice(&sealed);
        if let Some(bad) = bad {
            buf[bad * stride + HEADER_LEN + len - 1] ^= 1;
        }
        let offered = buf.to_vec();
        let verdicts = open.open_train(&counters, buf, geometry).expect("it fits");
        for (index, segment) in buf.chunks(stride).enumerate() {
            let is_bad = bad == Some(index);
            assert_eq!(verdicts.passed(index), !is_bad, "{index} of {what}, {bad:?} is forged");
            let left = match subject.provider.on_failure() {
                _ if !is_bad => text(&plain[index * stride..][..stride]),
                OnFailure::Unchanged => text(&offered[index * stride..][..stride]),
                OnFailure::Zeroed => &[0; 65503][..len],
            };
            assert!(text(segment) == left, "{index} of {what}, {bad:?} is forged");
        }
    }
}
