//! A provider at work, and how long that takes: for the choice at start-up, and for benchmarks.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::{Geometry, HEADER_LEN, KEY_LEN, Message, OpenKey, Plan, Provider, SealKey, Source, Suite, TAG_LEN};

/// Bytes of the headers of IPv4 and of TCP with a timestamp, at which sources are cut as those of a super-packet are.
const HEAD_LEN: usize = 52;

/// What is sealed and opened at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Segments of one length, side by side.
    Train {
        /// Bytes of plaintext of each.
        len: usize,
        /// How many.
        count: usize,
    },
    /// Messages of several lengths, with room for a header between them.
    Burst {
        /// The range that the lengths are spread over.
        range: RangeInclusive<usize>,
        /// Bytes of plaintext of each.
        lens: Vec<usize>,
    },
}

/// What is done with a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `seal_train`, `seal_batch`.
    Seal,
    /// `seal_train_from`, the sources cut behind a TCP header as a super-packet is; of trains only.
    SealFrom,
    /// `open_train`, `open_batch`: what was sealed before.
    Open,
}

/// A provider with trains or bursts to seal and to open.
#[derive(Debug)]
pub struct Workload {
    seal: SealKey,
    open: OpenKey,
    shape: Shape,
    /// How many trains or bursts make a pass.
    repeats: usize,
    /// They lie here side by side.
    buf: Vec<u8>,
    /// What sources are read from.
    origin: Vec<u8>,
}

impl Shape {
    /// `count` packets of lengths that are spread evenly over `range` and in no order; the same in every run.
    pub fn burst(range: RangeInclusive<usize>, count: usize) -> Self {
        // Steps of the golden ratio: evenly spread whatever the count is.
        let span = (range.end() - range.start()) as f64;
        let len = |i: usize| range.start() + ((i as f64 * 0.618_033_988_75).fract() * span).round() as usize;
        Self::Burst { lens: (1..=count).map(len).collect(), range }
    }

    /// Packets in it.
    pub fn count(&self) -> usize {
        match self {
            Self::Train { count, .. } => *count,
            Self::Burst { lens, .. } => lens.len(),
        }
    }

    /// Bytes of plaintext of all packets.
    pub fn text_len(&self) -> usize {
        match self {
            Self::Train { len, count } => len * count,
            Self::Burst { lens, .. } => lens.iter().sum(),
        }
    }

    /// What can be done with it, opening last.
    pub fn operations(&self) -> &'static [Operation] {
        match self {
            Self::Train { .. } => &[Operation::Seal, Operation::SealFrom, Operation::Open],
            Self::Burst { .. } => &[Operation::Seal, Operation::Open],
        }
    }

    /// Bytes with headers and tags.
    fn total_len(&self) -> usize {
        self.text_len() + self.count() * (HEADER_LEN + TAG_LEN)
    }
}

impl Workload {
    /// As much of `shape` in each pass as makes at least `packets` packets: enough for the clock's resolution, and few
    /// enough for the cache that is meant.
    ///
    /// # Panics
    /// If no train has that shape, or it is empty.
    pub fn new(provider: Provider, suite: Suite, shape: Shape, packets: usize) -> Self {
        // The keys protect nothing, so their nonces may repeat.
        let (key, plan) = ([0x5a; KEY_LEN], Plan::fixed(provider));
        let repeats = packets.div_ceil(shape.count());
        let buf = vec![0xa5; shape.total_len() * repeats];
        Self {
            seal: SealKey::new(plan, suite, &key),
            open: OpenKey::new(plan, suite, &key),
            repeats,
            origin: buf.clone(),
            buf,
            shape,
        }
    }

    /// Packets in a pass.
    pub fn packets(&self) -> usize {
        self.repeats * self.shape.count()
    }

    /// Nanoseconds per packet for each of `operations`, each done for at least `time`; a pass that has begun is
    /// finished.
    pub fn turn(&mut self, time: Duration, operations: &[Operation]) -> Vec<f64> {
        let mut spent = vec![Duration::ZERO; operations.len()];
        let mut passes = 0;
        while passes == 0 || spent.iter().any(|spent| *spent < time) {
            for (operation, spent) in operations.iter().zip(&mut spent) {
                *spent += self.pass(*operation);
            }
            passes += 1;
        }
        let packets = (passes * self.packets()) as f64;
        spent.into_iter().map(|spent| spent.as_nanos() as f64 / packets).collect()
    }

    /// Does it once for every train or burst, and says how long that took.
    ///
    /// # Panics
    /// If something is opened that is not sealed, or a burst is sealed from sources.
    pub fn pass(&mut self, operation: Operation) -> Duration {
        match &self.shape {
            Shape::Train { len, count } => self.pass_of_trains(operation, *len, *count),
            Shape::Burst { .. } => self.pass_of_bursts(operation),
        }
    }

    fn pass_of_trains(&mut self, operation: Operation, len: usize, count: usize) -> Duration {
        let stride = HEADER_LEN + len + TAG_LEN;
        let geometry = Geometry::new(stride, stride, count).expect("the measured trains are possible");
        let trains = self.buf.chunks_mut(geometry.total_len());
        match operation {
            Operation::Seal => timed(|| {
                for train in trains {
                    self.seal.seal_train(0, train, geometry).expect("the buffer was made for it");
                }
            }),
            Operation::SealFrom => {
                let sources: Vec<_> = self.origin.chunks(stride).map(|segment| source(segment, len)).collect();
                timed(|| {
                    for (train, sources) in trains.zip(sources.chunks(count)) {
                        self.seal.seal_train_from(0, sources, train, geometry).expect("the buffer was made for it");
                    }
                })
            }
            Operation::Open => {
                let counters: Vec<u64> = (0..).take(count).collect();
                timed(|| {
                    for train in trains {
                        let verdicts = self.open.open_train(&counters, train, geometry);
                        let verdicts = verdicts.expect("the buffer was made for it");
                        assert!(verdicts.all_passed(), "what was just sealed opens");
                    }
                })
            }
        }
    }

    fn pass_of_bursts(&mut self, operation: Operation) -> Duration {
        let Shape::Burst { lens, .. } = &self.shape else { unreachable!("the caller has looked") };
        let mut rest = &mut self.buf[..];
        let mut message = |(counter, len): (usize, &usize)| {
            let (packet, behind) = std::mem::take(&mut rest).split_at_mut(HEADER_LEN + len + TAG_LEN);
            rest = behind;
            Message::of_body(counter as u64, &mut packet[HEADER_LEN..]).expect("it has a tag")
        };
        let repeated = (0..self.repeats).flat_map(|_| lens.iter().enumerate());
        let mut messages: Vec<Message<'_>> = repeated.map(&mut message).collect();
        let bursts = messages.chunks_mut(lens.len());
        match operation {
            Operation::Seal => timed(|| {
                for burst in bursts {
                    self.seal.seal_batch(burst).expect("the buffer was made for it");
                }
            }),
            Operation::SealFrom => panic!("bursts are sealed where they lie"),
            Operation::Open => timed(|| {
                for burst in bursts {
                    let verdicts = self.open.open_batch(burst).expect("the buffer was made for it");
                    assert!(verdicts.all_passed(), "what was just sealed opens");
                }
            }),
        }
    }
}

/// Headers and payload of a segment of `len` bytes of plaintext.
fn source(segment: &[u8], len: usize) -> Source<'_> {
    let (head, body) = segment[HEADER_LEN..][..len].split_at(HEAD_LEN.min(len));
    Source { head, body }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_every_shape_is_timed() {
        for suite in Suite::ALL {
            for provider in Provider::available(suite) {
                for shape in [Shape::Train { len: 64, count: 3 }, Shape::burst(64..=1420, 4)] {
                    let operations = shape.operations();
                    let mut work = Workload::new(provider, suite, shape, 10);
                    assert_eq!(work.packets(), 12);
                    let figures = work.turn(Duration::ZERO, operations);
                    assert_eq!(figures.len(), operations.len());
                    assert!(figures.iter().all(|ns| ns.is_finite()), "{provider} {suite}: {figures:?}");
                }
            }
        }
    }

    #[test]
    fn a_burst_is_spread_over_its_range() {
        let shape = Shape::burst(64..=1420, 44);
        let Shape::Burst { lens, .. } = &shape else { panic!("a burst") };
        assert!(lens.iter().all(|len| (64..=1420).contains(len)));
        assert!(lens.iter().any(|len| *len < 200) && lens.iter().any(|len| *len > 1300));
        assert_eq!((shape.count(), shape.text_len()), (44, lens.iter().sum()));
    }
}
