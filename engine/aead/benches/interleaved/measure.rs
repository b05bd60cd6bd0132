//! The measuring: every contender takes a turn in every round, so whatever else the machine does meets them all.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use ringfort_aead::{Geometry, HEADER_LEN, KEY_LEN, Message, OpenKey, Plan, Provider, SealKey, Source, Suite, TAG_LEN};

/// Packets that are worked on between two looks at the clock, at least: enough for its resolution, and with full
/// packets still within a second-level cache.
const PACKETS_PER_PASS: usize = 176;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Turns of each contender.
    pub rounds: usize,
    /// The time of one turn for one operation; a pass that has begun is finished.
    pub round: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 31, round: Duration::from_millis(1) }
    }
}

/// A provider with a suite.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    pub provider: Provider,
    pub suite: Suite,
}

/// What is sealed and opened at once.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Segments of one length, side by side.
    Train { len: usize, count: usize },
    /// Messages of these lengths, with room for a header between them.
    Burst { range: RangeInclusive<usize>, lens: Vec<usize> },
}

/// What a provider does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `seal_train`, `seal_batch`.
    Seal,
    /// `seal_train_from`, the sources cut behind a TCP header as a super-packet is; of trains only.
    SealFrom,
    /// `open_train`, `open_batch`.
    Open,
}

/// Nanoseconds per packet over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// One contender's figures for one shape.
#[derive(Clone, Debug)]
pub struct Figures(Vec<(Operation, Spread)>);

impl Contender {
    /// Every provider of the suite that this CPU can run, the reference first.
    pub fn all(suite: Suite) -> impl Iterator<Item = Self> {
        let mut providers: Vec<_> = Provider::available(suite).collect();
        providers.sort_by_key(|provider| *provider != Provider::AwsLc);
        providers.into_iter().map(move |provider| Self { provider, suite })
    }

    /// What the others are compared with.
    pub fn is_reference(&self) -> bool {
        self.provider == Provider::AwsLc
    }

    /// Whether the choice of `names` includes this one: no name of its kind excludes it.
    pub fn is_named(&self, names: &[String]) -> bool {
        let admits = |own: &str, known: fn(&str) -> bool| {
            let mut named = names.iter().filter(|name| known(name)).peekable();
            named.peek().is_none() || named.any(|name| name == own)
        };
        let suite = admits(self.suite.name(), |name| name.parse::<Suite>().is_ok());
        suite && (self.is_reference() || admits(self.provider.name(), |name| name.parse::<Provider>().is_ok()))
    }

    /// Whether there is a suite or a provider of that name.
    pub fn is_known(name: &str) -> bool {
        name.parse::<Suite>().is_ok() || name.parse::<Provider>().is_ok()
    }
}

impl Shape {
    /// `count` packets of `len` bytes of plaintext.
    pub fn train(len: usize, count: usize) -> Self {
        Self::Train { len, count }
    }

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

    /// Bytes of plaintext per packet, on average.
    pub fn mean_len(&self) -> f64 {
        self.lens().sum::<usize>() as f64 / self.count() as f64
    }

    /// Bytes of plaintext of each packet.
    fn lens(&self) -> impl Iterator<Item = usize> {
        (0..self.count()).map(|index| match self {
            Self::Train { len, .. } => *len,
            Self::Burst { lens, .. } => lens[index],
        })
    }

    /// What is measured of it, opening last.
    fn operations(&self) -> &'static [Operation] {
        match self {
            Self::Train { .. } => &[Operation::Seal, Operation::SealFrom, Operation::Open],
            Self::Burst { .. } => &[Operation::Seal, Operation::Open],
        }
    }
}

impl Figures {
    /// Nanoseconds per packet; `None` if the shape does not have that operation.
    pub fn of(&self, operation: Operation) -> Option<Spread> {
        self.0.iter().find(|(which, _)| *which == operation).map(|(_, spread)| *spread)
    }
}

impl Spread {
    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { median: samples[samples.len() / 2], min: samples[0], max: samples[samples.len() - 1] }
    }
}

/// Measures all contenders, turn by turn, each as many rounds as the others.
pub fn interleaved(options: Options, contenders: &[Contender], shape: &Shape) -> Vec<Figures> {
    let work = Work::new(shape);
    let (sources, operations) = (work.sources(), shape.operations());
    let mut benches: Vec<Bench<'_>> =
        contenders.iter().map(|contender| Bench::new(*contender, &work, &sources)).collect();
    let mut samples = vec![vec![Vec::with_capacity(options.rounds); operations.len()]; contenders.len()];
    // The first round warms up caches, branch predictors and clocks, and is not counted.
    for round in 0..=options.rounds {
        for (bench, samples) in benches.iter_mut().zip(&mut samples) {
            let figures = bench.turn(options.round, operations);
            if round > 0 {
                samples.iter_mut().zip(figures).for_each(|(samples, ns)| samples.push(ns));
            }
        }
    }
    let figures =
        |samples: Vec<Vec<f64>>| Figures(operations.iter().copied().zip(samples.into_iter().map(Spread::of)).collect());
    samples.into_iter().map(figures).collect()
}

/// As many trains or bursts as make a pass, and where sources are read.
struct Work<'a> {
    shape: &'a Shape,
    repeats: usize,
    origin: Vec<u8>,
}

impl<'a> Work<'a> {
    fn new(shape: &'a Shape) -> Self {
        let repeats = PACKETS_PER_PASS.div_ceil(shape.count());
        let bytes: usize = shape.lens().map(|len| HEADER_LEN + len + TAG_LEN).sum();
        Self { shape, repeats, origin: vec![0xa5; bytes * repeats] }
    }

    /// For each segment of each train: headers of IPv4 and of TCP with a timestamp, and the payload.
    fn sources(&self) -> Vec<Source<'_>> {
        let Shape::Train { len, .. } = self.shape else { return vec![] };
        let segments = self.origin.chunks(HEADER_LEN + len + TAG_LEN);
        let source = segments.map(|segment| {
            let (head, body) = segment[HEADER_LEN..][..*len].split_at(52);
            Source { head, body }
        });
        source.collect()
    }
}

/// One contender at work.
struct Bench<'a> {
    seal: SealKey,
    open: OpenKey,
    work: &'a Work<'a>,
    sources: &'a [Source<'a>],
    buf: Vec<u8>,
}

impl<'a> Bench<'a> {
    fn new(Contender { provider, suite }: Contender, work: &'a Work<'a>, sources: &'a [Source<'a>]) -> Self {
        // The keys protect nothing, so their nonces may repeat.
        let (key, plan) = ([0x5a; KEY_LEN], Plan::fixed(provider));
        let (seal, open) = (SealKey::new(plan, suite, &key), OpenKey::new(plan, suite, &key));
        Self { seal, open, work, sources, buf: work.origin.clone() }
    }

    /// Nanoseconds per packet for each of the operations, the last of which opens what the others have sealed.
    fn turn(&mut self, time: Duration, operations: &[Operation]) -> Vec<f64> {
        let mut spent = vec![Duration::ZERO; operations.len()];
        let mut passes = 0;
        while spent.iter().any(|spent| *spent < time) {
            for (operation, spent) in operations.iter().zip(&mut spent) {
                *spent += match self.work.shape {
                    Shape::Train { len, count } => self.pass_of_trains(*operation, *len, *count),
                    Shape::Burst { lens, .. } => self.pass_of_bursts(*operation, lens),
                };
            }
            passes += 1;
        }
        let packets = (passes * self.work.repeats * self.work.shape.count()) as f64;
        spent.into_iter().map(|spent| spent.as_nanos() as f64 / packets).collect()
    }

    fn pass_of_trains(&mut self, operation: Operation, len: usize, count: usize) -> Duration {
        let stride = len + HEADER_LEN + TAG_LEN;
        let geometry = Geometry::new(stride, stride, count).expect("the measured trains are possible");
        let counters: Vec<u64> = (0..).take(count).collect();
        let trains = self.buf.chunks_mut(geometry.total_len());
        let start = Instant::now();
        match operation {
            Operation::Seal => trains.for_each(|train| {
                self.seal.seal_train(0, train, geometry).expect("the buffer was made for it");
            }),
            Operation::SealFrom => trains.zip(self.sources.chunks(count)).for_each(|(train, sources)| {
                self.seal.seal_train_from(0, sources, train, geometry).expect("the buffer was made for it");
            }),
            Operation::Open => trains.for_each(|train| {
                let verdicts = self.open.open_train(&counters, train, geometry).expect("the buffer was made for it");
                assert!(verdicts.all_passed(), "what was just sealed opens");
            }),
        }
        start.elapsed()
    }

    fn pass_of_bursts(&mut self, operation: Operation, lens: &[usize]) -> Duration {
        let mut rest = &mut self.buf[..];
        let mut message = |(counter, len): (usize, &usize)| {
            let (packet, behind) = std::mem::take(&mut rest).split_at_mut(HEADER_LEN + len + TAG_LEN);
            rest = behind;
            Message::of_body(counter as u64, &mut packet[HEADER_LEN..]).expect("it has a tag")
        };
        let repeated = (0..self.work.repeats).flat_map(|_| lens.iter().enumerate());
        let mut messages: Vec<Message<'_>> = repeated.map(&mut message).collect();
        let start = Instant::now();
        for burst in messages.chunks_mut(lens.len()) {
            match operation {
                Operation::Open => {
                    let verdicts = self.open.open_batch(burst).expect("the buffer was made for it");
                    assert!(verdicts.all_passed(), "what was just sealed opens");
                }
                _ => self.seal.seal_batch(burst).expect("the buffer was made for it"),
            }
        }
        start.elapsed()
    }
}
