//! What is timed: pairs of classes that differ in nothing but a secret.

use std::fmt;
use std::hint::black_box;

use ringfort_aead::{Geometry, HEADER_LEN, KEY_LEN, OpenKey, Plan, Provider, SealKey, Suite, TAG_LEN};

use crate::welch::{Bench, Repeatable};

/// A provider with a suite.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    provider: Provider,
    suite: Suite,
}

impl Subject {
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |suite| Provider::available(suite).map(move |provider| Self { provider, suite });
        Suite::ALL.into_iter().flat_map(of)
    }

    /// Whether it has that suite, or is by that provider.
    pub fn is_of_kind(self, name: &str) -> bool {
        self.suite.name() == name || self.provider.name() == name
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.suite, self.provider)
    }
}

/// What is sealed or opened at once.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    len: usize,
    count: usize,
}

impl Shape {
    /// A lone small packet, and trains: arithmetic across packets has other ways for other counts.
    pub const ALL: [Self; 3] = [Self { len: 64, count: 1 }, Self { len: 100, count: 3 }, Self { len: 256, count: 8 }];

    fn geometry(self) -> Geometry {
        let stride = self.len + HEADER_LEN + TAG_LEN;
        Geometry::new(stride, stride, self.count).expect("the shapes are possible")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} B", self.count, self.len)
    }
}

/// Two classes of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    SealKey,
    SealText,
    OpenKey,
    OpenText,
    FirstOrLastByte,
    OneByteOrAll,
    GenuineOrForged,
}

impl Experiment {
    pub const ALL: [Self; 7] = [
        Self::SealKey,
        Self::SealText,
        Self::OpenKey,
        Self::OpenText,
        Self::FirstOrLastByte,
        Self::OneByteOrAll,
        Self::GenuineOrForged,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::SealKey => "sealing, one key or any",
            Self::SealText => "sealing, zeros or any text",
            Self::OpenKey => "opening, one key or any",
            Self::OpenText => "opening, zeros or any text",
            Self::FirstOrLastByte => "opening, tags wrong in the first or the last byte",
            Self::OneByteOrAll => "opening, tags wrong in a byte or altogether",
            Self::GenuineOrForged => "opening, genuine or forged",
        }
    }

    /// Whether a difference would be a leak. Who sends a forgery may know that it was one.
    pub fn is_judged(self) -> bool {
        self != Self::GenuineOrForged
    }

    fn seals(self) -> bool {
        matches!(self, Self::SealKey | Self::SealText)
    }

    pub fn bench(self, subject: Subject, shape: Shape) -> impl Bench {
        let slot = |_| Slot {
            seal: SealKey::new(Plan::fixed(subject.provider), subject.suite, &FIXED_KEY),
            open: OpenKey::new(Plan::fixed(subject.provider), subject.suite, &FIXED_KEY),
            buf: vec![0; shape.geometry().total_len()],
        };
        let counters = (0..shape.count as u64).collect();
        Trains { experiment: self, subject, shape, counters, slots: (0..64).map(slot).collect() }
    }
}

const FIXED_KEY: [u8; KEY_LEN] = [0x5a; KEY_LEN];

/// Each input has keys and memory of its own, whatever its class, so no class is nearer to the core.
struct Slot {
    seal: SealKey,
    open: OpenKey,
    buf: Vec<u8>,
}

struct Trains {
    experiment: Experiment,
    subject: Subject,
    shape: Shape,
    counters: Vec<u64>,
    slots: Vec<Slot>,
}

impl Bench for Trains {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn prepare(&mut self, slot: usize, class: bool, random: u64) {
        let (mut rng, geometry) = (Repeatable(random), self.shape.geometry());
        let Slot { seal, open, buf } = &mut self.slots[slot];
        let mut key = [0; KEY_LEN];
        rng.fill(&mut key);
        if !(class && matches!(self.experiment, Experiment::SealKey | Experiment::OpenKey)) {
            key = black_box(FIXED_KEY);
        }
        // Both classes get new ones.
        let (plan, suite) = (Plan::fixed(self.subject.provider), self.subject.suite);
        *seal = SealKey::new(plan, suite, &key);
        *open = OpenKey::new(plan, suite, &key);

        rng.fill(buf);
        if matches!(self.experiment, Experiment::SealText | Experiment::OpenText) && !class {
            buf.fill(black_box(0));
        }
        if self.experiment.seals() {
            return;
        }
        // The key protects nothing, so its nonces may repeat.
        seal.seal_train(0, buf, geometry).expect("the buffer was made for it");
        for segment in buf.chunks_mut(geometry.stride()) {
            let (_, tag) = segment.split_last_chunk_mut::<TAG_LEN>().expect("a segment has a tag");
            let flips = self.experiment.flips(class, &mut rng);
            tag.iter_mut().zip(flips).for_each(|(byte, flip)| *byte ^= flip);
        }
    }

    fn run(&mut self, slot: usize) {
        let Slot { seal, open, buf } = &mut self.slots[slot];
        if self.experiment.seals() {
            black_box(seal.seal_train(0, buf, self.shape.geometry())).expect("the buffer was made for it");
        } else {
            let verdicts = open.open_train(&self.counters, buf, self.shape.geometry());
            let _ = black_box(verdicts.expect("the buffer was made for it"));
        }
    }
}

impl Experiment {
    /// What is changed of a tag.
    fn flips(self, class: bool, rng: &mut Repeatable) -> [u8; TAG_LEN] {
        let (mut one, mut all) = ([0; TAG_LEN], [0; TAG_LEN]);
        rng.fill(&mut all);
        all.iter_mut().for_each(|byte| *byte |= 1);
        match self {
            Self::FirstOrLastByte => one[if class { TAG_LEN - 1 } else { 0 }] = all[0],
            Self::OneByteOrAll if class => one = all,
            Self::OneByteOrAll => one[(rng.next() % TAG_LEN as u64) as usize] = all[0],
            Self::GenuineOrForged if class => one = all,
            _ => {}
        }
        one
    }
}

/// Comparisons of tags whose outcome is known.
pub struct Control {
    tags: Vec<([u8; TAG_LEN], [u8; TAG_LEN])>,
    is_equal: bool,
}

impl Control {
    /// Stops at the first byte that differs, which is the first or the last.
    pub fn stops_early() -> Self {
        Self { tags: vec![Default::default(); 64], is_equal: false }
    }

    /// Both classes differ in the first byte.
    pub fn is_equal() -> Self {
        Self { is_equal: true, ..Self::stops_early() }
    }
}

impl Bench for Control {
    fn slots(&self) -> usize {
        self.tags.len()
    }

    fn prepare(&mut self, slot: usize, class: bool, random: u64) {
        let (a, b) = &mut self.tags[slot];
        Repeatable(random).fill(a);
        *b = *a;
        b[if class && !self.is_equal { TAG_LEN - 1 } else { 0 }] ^= 1;
    }

    fn run(&mut self, slot: usize) {
        let (a, b) = &self.tags[slot];
        // Tags of a whole train.
        for _ in 0..8 {
            black_box(black_box(a).iter().zip(black_box(b)).all(|(a, b)| black_box(*a) == *b));
        }
    }
}
