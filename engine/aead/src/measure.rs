//! Which provider is the fastest on this machine: a short measurement at start-up.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::{Geometry, HEADER_LEN, KEY_LEN, OpenKey, Provider, SealKey, SelfTestError, TAG_LEN, UnknownProvider};

/// Bytes of plaintext of the measured packets: an ACK or a voice packet, the old Internet minimum, a full tunnel packet.
pub const PACKET_SIZES: [usize; 3] = [64, 576, 1420];
/// Segments of the measured trains: a lone packet, a short burst, a super-packet of 64 KiB at full size.
pub const TRAIN_COUNTS: [usize; 3] = [1, 8, 44];

/// Time for each pair of size and count, sealing and opening together; a round that has begun is finished.
const BUDGET_PER_CLASS: Duration = Duration::from_millis(1);
/// The fewest rounds per class, however slow: the first one warms up.
const ROUNDS_MIN: usize = 3;
/// Packets per round, as many trains as they make: enough for the clock's resolution.
const PACKETS_PER_ROUND: usize = 44;

/// What `--aead` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Measure, and take the fastest.
    #[default]
    Auto,
    /// This one.
    Fixed(Provider),
}

/// The provider to use, and why.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The provider to give to [`SealKey::new`] and [`OpenKey::new`].
    pub provider: Provider,
    /// How it was selected.
    pub selection: Selection,
    /// Every provider that was measured.
    pub measurements: Vec<Measurement>,
    /// Providers that were left out because they do not compute correctly here: worth a warning.
    pub failures: Vec<SelfTestError>,
}

/// One provider's speed on this machine.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Which provider.
    pub provider: Provider,
    /// One per pair of packet size and train count, sizes outermost.
    pub figures: Vec<Figure>,
}

/// The speed of one provider for trains of one shape: the best round of several, so that preemption does not count.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Bytes of plaintext per packet.
    pub packet_len: usize,
    /// Packets per train.
    pub train_count: usize,
    /// Nanoseconds per packet, sealing in place.
    pub seal_ns: f64,
    /// Nanoseconds per packet, opening in place.
    pub open_ns: f64,
}

/// Tests and measures every provider and takes the fastest correct one. Takes some tens of milliseconds.
///
/// # Errors
/// The first failed self-test, if no provider passes its own.
pub fn choose() -> Result<Choice, SelfTestError> {
    Selection::Auto.resolve()
}

impl Selection {
    /// Tests and measures what may be used under this selection. Takes some tens of milliseconds.
    ///
    /// # Errors
    /// The failed self-test of a fixed provider; the first one, if no provider passes its own.
    pub fn resolve(self) -> Result<Choice, SelfTestError> {
        let candidates: Vec<Provider> = match self {
            Self::Auto => Provider::available().collect(),
            Self::Fixed(provider) => vec![provider],
        };
        let mut failures = Vec::new();
        let mut measurements = Vec::new();
        for provider in candidates {
            match provider.self_test() {
                Ok(()) => measurements.push(measure(provider)),
                Err(failure) => failures.push(failure),
            }
        }
        match measurements.iter().min_by(|a, b| a.mean_ns().total_cmp(&b.mean_ns())) {
            Some(best) => Ok(Choice { provider: best.provider, selection: self, measurements, failures }),
            None => Err(failures[0]), // No candidate passed, and there was at least one.
        }
    }
}

/// Measures `provider` over every pair of [`PACKET_SIZES`] and [`TRAIN_COUNTS`].
pub fn measure(provider: Provider) -> Measurement {
    let key = [0x5a; KEY_LEN];
    let (seal, open) = (SealKey::new(provider, &key), OpenKey::new(provider, &key));
    let classes = PACKET_SIZES.iter().flat_map(|&len| TRAIN_COUNTS.iter().map(move |&count| (len, count)));
    let figures = classes.map(|(len, count)| measure_class(&seal, &open, len, count)).collect();
    Measurement { provider, figures }
}

fn measure_class(seal: &SealKey, open: &OpenKey, packet_len: usize, train_count: usize) -> Figure {
    let stride = packet_len + HEADER_LEN + TAG_LEN;
    let geometry = Geometry::new(stride, stride, train_count).expect("the measured trains are possible");
    let trains = PACKETS_PER_ROUND.div_ceil(train_count);
    let packets = (trains * train_count) as f64;
    let counters: Vec<u64> = (0..).take(train_count).collect();
    let mut buf = vec![0u8; trains * geometry.total_len()];

    let (mut seal_best, mut open_best) = (Duration::MAX, Duration::MAX);
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || begin.elapsed() < BUDGET_PER_CLASS {
        let start = Instant::now();
        for train in buf.chunks_mut(geometry.total_len()) {
            // The key protects nothing, so its nonces may repeat.
            seal.seal_train(0, train, geometry).expect("the buffer was made for the train");
        }
        let middle = Instant::now();
        for train in buf.chunks_mut(geometry.total_len()) {
            let verdicts = open.open_train(&counters, train, geometry).expect("the buffer was made for the train");
            assert!(verdicts.all_passed(), "what was just sealed opens");
        }
        seal_best = seal_best.min(middle - start);
        open_best = open_best.min(middle.elapsed());
        rounds += 1;
    }
    let per_packet = |round: Duration| round.as_nanos() as f64 / packets;
    Figure { packet_len, train_count, seal_ns: per_packet(seal_best), open_ns: per_packet(open_best) }
}

impl Measurement {
    /// The geometric mean over all shapes of the nanoseconds that sealing and opening a packet take: a provider that is
    /// twice as fast in one shape makes up for being half as fast in another, whatever their sizes.
    pub fn mean_ns(&self) -> f64 {
        // A clock too coarse to see a round must not make the logarithm infinite.
        let logs = self.figures.iter().map(|figure| (figure.seal_ns + figure.open_ns).max(0.1).ln());
        (logs.sum::<f64>() / self.figures.len() as f64).exp()
    }
}

impl FromStr for Selection {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        if name == "auto" { Ok(Self::Auto) } else { name.parse().map(Self::Fixed) }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Fixed(provider) => provider.fmt(f),
        }
    }
}

/// Several lines: the provider, then a table of what was measured.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.selection {
            Selection::Auto => "the fastest here",
            Selection::Fixed(_) => "as configured",
        };
        write!(f, "AEAD: {}, {why} (ns per packet, seal/open)", self.provider)?;
        for measurement in &self.measurements {
            write!(f, "\n{measurement}")?;
        }
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}

/// One line per packet size, one column per train count.
impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, figures) in self.figures.chunks(TRAIN_COUNTS.len()).enumerate() {
            let separator = if row == 0 { "" } else { "\n" };
            write!(f, "{separator}  {:<11}{:>5} B", self.provider, figures[0].packet_len)?;
            for Figure { train_count, seal_ns, open_ns, .. } in figures {
                let both = format!("{seal_ns:.0}/{open_ns:.0}");
                write!(f, "  ×{train_count:<2} {both:<9}")?;
            }
        }
        Ok(())
    }
}
