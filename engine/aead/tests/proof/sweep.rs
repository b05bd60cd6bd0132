//! Every length of text from 0 to 2000 bytes in every train from 1 to 64 segments, each between guard pages and each
//! compared with the oracle. They are sealed in place, sealed from sources, sealed from sources with padding, and
//! opened.

use std::collections::HashSet;

use ringfort_aead::{Geometry, HEADER_LEN, OpenKey, Provider, SEGMENTS_MAX, SealKey, Source, TAG_LEN};

use crate::guarded::{Flush, Guarded};
use crate::oracle::{KEY, TEXT_LEN_MAX, Table, ascending, mix, padded_len};
use crate::subject::Subject;

const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// One train of the sweep: `count` messages of `len` bytes, the last one of `last`, from the table's counter `first`
/// on.
#[derive(Clone, Copy, Debug)]
struct Train {
    len: usize,
    last: usize,
    count: usize,
    first: usize,
}

impl Train {
    /// The train of equal segments, and one with a ragged last segment: shorter by a byte, by a part of a block, a
    /// whole number of blocks, or any length.
    fn both(len: usize, count: usize) -> [Self; 2] {
        let random = mix((len * SEGMENTS_MAX + count) as u64);
        let any = (random >> 8) as usize % (len + 1);
        let last = match random % 4 {
            0 => len.saturating_sub(1),
            1 => len - len.min(any % 64),
            2 => any / 64 * 64,
            _ => any,
        };
        let first = (random >> 40) as usize % (SEGMENTS_MAX + 1 - count);
        [Self { len, last: len, count, first }, Self { len, last, count, first }]
    }

    fn text_len(self, segment: usize) -> usize {
        if segment + 1 == self.count { self.last } else { self.len }
    }

    fn geometry(self, text_len: impl Fn(usize) -> usize) -> Geometry {
        let (stride, last) = (text_len(self.len) + OVERHEAD, text_len(self.last) + OVERHEAD);
        Geometry::new(stride, last, self.count).expect("the sweep holds possible trains")
    }

    fn first_counter(self) -> u64 {
        Table::FIRST_COUNTER + self.first as u64
    }

    /// Writes a train of recognisable headers and of what `body` makes of each segment's rest.
    fn write(self, train: &mut [u8], stride: usize, mut body: impl FnMut(usize, &mut [u8])) {
        for (segment, bytes) in train.chunks_mut(stride).enumerate() {
            let (header, rest) = bytes.split_at_mut(HEADER_LEN);
            header.fill(0xa0 + segment as u8);
            body(segment, rest);
        }
    }

    /// Every way to cut a source in two: no head, no body, and anywhere between.
    fn source(self, table: &Table, segment: usize) -> Source<'_> {
        let text = table.text(self.first + segment, self.text_len(segment));
        let at = match (self.len + self.count + segment) % 5 {
            0 => 0,
            1 => text.len(),
            2 => text.len().min(40),
            3 => text.len().min(64),
            _ => mix((self.len * 71 + segment) as u64) as usize % (text.len() + 1),
        };
        let (head, body) = text.split_at(at);
        Source { head, body }
    }
}

/// What the sweep of one subject needs.
struct Sweep {
    subject: Subject,
    table: Table,
    seal: SealKey,
    open: OpenKey,
    memory: Guarded,
    expected: Vec<u8>,
}

impl Sweep {
    fn new(subject: Subject) -> Self {
        let len_max = SEGMENTS_MAX * (padded_len(TEXT_LEN_MAX) + OVERHEAD);
        Self {
            subject,
            table: Table::new(subject.suite, &KEY),
            seal: subject.seal_key(&KEY),
            open: subject.open_key(&KEY),
            memory: Guarded::new(len_max),
            expected: vec![0; len_max],
        }
    }

    /// Sealed in place is what the oracle says; opened is what it was.
    fn in_place(&mut self, train: Train, at: Flush) {
        let geometry = train.geometry(|len| len);
        let (stride, table) = (geometry.stride(), &self.table);
        let expected = &mut self.expected[..geometry.total_len()];
        train.write(expected, stride, |segment, rest| {
            table.sealed(train.first + segment, train.text_len(segment), rest);
        });

        let buf = self.memory.flush(at, expected.len());
        train.write(buf, stride, |segment, rest| {
            let (text, tag) = rest.split_at_mut(train.text_len(segment));
            text.copy_from_slice(table.text(train.first + segment, text.len()));
            tag.fill(0xee);
        });
        self.seal.seal_train(train.first_counter(), buf, geometry).expect("it fits");
        assert!(buf == expected, "{}: seal_train, {train:?}, {at:?}", self.subject);

        let counters = ascending(train.first_counter(), train.count);
        let verdicts = self.open.open_train(&counters, buf, geometry).expect("it fits");
        assert!(verdicts.all_passed() && verdicts.count() == train.count, "{}: {train:?}, {at:?}", self.subject);
        // What the train was, except the tags, which opening leaves.
        for (segment, bytes) in expected.chunks_mut(stride).enumerate() {
            let len = train.text_len(segment);
            bytes[HEADER_LEN..][..len].copy_from_slice(table.text(train.first + segment, len));
        }
        assert!(buf == expected, "{}: open_train, {train:?}, {at:?}", self.subject);
    }

    /// Sealed from sources as long as the segments' texts, over bytes that must not matter.
    fn seal_from_sources(&mut self, train: Train, at: Flush) {
        let geometry = train.geometry(|len| len);
        let (stride, table) = (geometry.stride(), &self.table);
        let expected = &mut self.expected[..geometry.total_len()];
        train.write(expected, stride, |segment, rest| {
            table.sealed(train.first + segment, train.text_len(segment), rest);
        });
        self.seal_sources(train, at, geometry, "seal_train_from");
    }

    /// Sealed from sources that are 1 to 16 bytes shorter than the segments' texts.
    fn seal_from_padded_sources(&mut self, train: Train, at: Flush) {
        let geometry = train.geometry(padded_len);
        let (stride, table) = (geometry.stride(), &self.table);
        let expected = &mut self.expected[..geometry.total_len()];
        train.write(expected, stride, |segment, rest| {
            table.sealed_padded(train.first + segment, train.text_len(segment), rest);
        });
        self.seal_sources(train, at, geometry, "seal_train_from, padded");
    }

    fn seal_sources(&mut self, train: Train, at: Flush, geometry: Geometry, operation: &str) {
        let mut sources = [Source::default(); SEGMENTS_MAX];
        for (segment, source) in sources[..train.count].iter_mut().enumerate() {
            *source = train.source(&self.table, segment);
        }
        let buf = self.memory.flush(at, geometry.total_len());
        train.write(buf, geometry.stride(), |_, rest| rest.fill(0xee));
        self.seal.seal_train_from(train.first_counter(), &sources[..train.count], buf, geometry).expect("it fits");
        assert!(buf == &self.expected[..buf.len()], "{}: {operation}, {train:?}, {at:?}", self.subject);
    }

    /// The trains of that length and count. With one count for each length, the ragged one is enough: equal ones are
    /// among them by chance.
    fn trains(&self, len: usize, count: usize) -> Vec<Train> {
        let both = Train::both(len, count);
        if one_count_in(self.subject) == SEGMENTS_MAX { both[1..].to_vec() } else { both.to_vec() }
    }

    /// Returns the number of trains.
    fn run(&mut self, pairs: impl Iterator<Item = (usize, usize)>) -> usize {
        let mut trains = 0;
        for (len, count) in pairs {
            for (ragged, train) in self.trains(len, count).into_iter().enumerate() {
                let at = Flush::BOTH[(len + count + ragged) % 2];
                self.in_place(train, at);
                self.seal_from_sources(train, at);
                self.seal_from_padded_sources(train, at);
                trains += 1;
            }
        }
        trains
    }
}

/// Of how many counts a subject gets one for each length, and another one for the next length. The provider that calls
/// the oracle itself, one message after the other, is compared with itself, and slowly. Arrays in place of registers
/// are slower still; where there are registers, those get every count. The kernel for AES-256-GCM has one way for each
/// number of registers and no more: some counts of each length show it.
fn one_count_in(subject: Subject) -> usize {
    match subject.provider {
        Provider::RustCrypto => 8,
        Provider::TrainOnArrays => 16,
        // On the machines that CI has; one in four takes some ten seconds of both of two cores.
        Provider::TrainAvx2 => 4,
        Provider::AwsLc | Provider::Train => 1,
        Provider::Vaes | Provider::Vaes512 => 8,
        Provider::VaesOnArrays | Provider::Vaes512OnArrays => SEGMENTS_MAX,
    }
}

/// The pairs of a length of that parity and a count.
fn pairs(subject: Subject, parity: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let step = one_count_in(subject);
    let lens = (parity..=TEXT_LEN_MAX).step_by(2);
    lens.flat_map(move |len| (1 + len / 2 % step..=SEGMENTS_MAX).step_by(step).map(move |count| (len, count)))
}

/// Half of the lengths, so one subject's sweep takes both of two cores.
fn sweep(name: &str, parity: usize) {
    let Some(subject) = Subject::named(name) else {
        // `coverage` fails where the CPU has the instructions.
        return println!("left out: {name} does not run on this CPU");
    };
    let pairs = pairs(subject, parity);
    let trains = Sweep::new(subject).run(pairs.clone());
    let each = if one_count_in(subject) == SEGMENTS_MAX { 1 } else { 2 };
    assert_eq!(trains, each * pairs.count());
    println!("{subject}: {trains} trains, lengths of parity {parity}");
}

/// Nobody has narrowed the sweep by accident.
#[test]
fn every_length_meets_every_count() {
    for subject in Subject::all() {
        let all: HashSet<_> = pairs(subject, 0).chain(pairs(subject, 1)).collect();
        let lens: HashSet<_> = all.iter().map(|(len, _)| len).collect();
        let counts: HashSet<_> = all.iter().map(|(_, count)| count).collect();
        assert_eq!((lens.len(), counts.len()), (TEXT_LEN_MAX + 1, SEGMENTS_MAX), "{subject}");
        if one_count_in(subject) == 1 {
            assert_eq!(all.len(), (TEXT_LEN_MAX + 1) * SEGMENTS_MAX, "{subject}");
        }
    }
}

macro_rules! sweeps {
    ($($module:ident $name:literal;)+) => {
        $(mod $module {
            #[test]
            fn even_lengths() {
                super::sweep($name, 0);
            }

            #[test]
            fn odd_lengths() {
                super::sweep($name, 1);
            }
        })+

        /// A provider that is added later must be added here.
        #[test]
        fn everything_is_swept() {
            let swept = HashSet::from([$($name.to_owned()),+]);
            let here: HashSet<_> = Subject::all().iter().map(Subject::to_string).collect();
            assert!(here.is_subset(&swept), "{here:?} run here, {swept:?} are swept");
        }
    };
}

sweeps! {
    rustcrypto_chacha20poly1305 "rustcrypto/chacha20poly1305";
    aws_lc_chacha20poly1305 "aws-lc/chacha20poly1305";
    rustcrypto_aes256gcm "rustcrypto/aes256gcm";
    aws_lc_aes256gcm "aws-lc/aes256gcm";
    train_chacha20poly1305 "train/chacha20poly1305";
    train_avx2_chacha20poly1305 "train-avx2/chacha20poly1305";
    train_on_arrays_chacha20poly1305 "train-on-arrays/chacha20poly1305";
    vaes_aes256gcm "vaes/aes256gcm";
    vaes512_aes256gcm "vaes512/aes256gcm";
    vaes_on_arrays_aes256gcm "vaes-on-arrays/aes256gcm";
    vaes512_on_arrays_aes256gcm "vaes512-on-arrays/aes256gcm";
}
