//! How fast a provider is on this machine: a short measurement at start-up.

use std::fmt;
use std::time::{Duration, Instant};

use crate::plan::{PACKET_SIZES, TRAIN_COUNTS};
use crate::workload::{Operation, Shape, Workload};
use crate::{Provider, Suite};

/// Time for each pair of size and count, sealing and opening together; a round that has begun is finished.
const BUDGET_PER_CLASS: Duration = Duration::from_millis(1);
/// The fewest rounds per class, however slow: the first one warms up.
const ROUNDS_MIN: usize = 3;
/// Packets per round, as many trains as they make: enough for the clock's resolution.
const PACKETS_PER_ROUND: usize = 44;

/// One provider's speed in one suite on this machine.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Which provider.
    pub provider: Provider,
    /// Of which suite.
    pub suite: Suite,
    /// One per pair of packet size and train count, sizes outermost.
    pub figures: Vec<Figure>,
}

/// The speed of one provider for trains of one shape: the best round of several, so preemption does not count.
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

/// Measures `provider` over every pair of [`PACKET_SIZES`] and [`TRAIN_COUNTS`]: about 12 ms.
pub fn measure(suite: Suite, provider: Provider) -> Measurement {
    let classes = PACKET_SIZES.iter().flat_map(|&len| TRAIN_COUNTS.iter().map(move |&count| (len, count)));
    let figures = classes.map(|(len, count)| measure_class(provider, suite, len, count)).collect();
    Measurement { provider, suite, figures }
}

fn measure_class(provider: Provider, suite: Suite, packet_len: usize, train_count: usize) -> Figure {
    let shape = Shape::Train { len: packet_len, count: train_count };
    let mut work = Workload::new(provider, suite, shape, PACKETS_PER_ROUND);
    let (mut seal_best, mut open_best) = (Duration::MAX, Duration::MAX);
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || begin.elapsed() < BUDGET_PER_CLASS {
        seal_best = seal_best.min(work.pass(Operation::Seal));
        open_best = open_best.min(work.pass(Operation::Open));
        rounds += 1;
    }
    let per_packet = |round: Duration| round.as_nanos() as f64 / work.packets() as f64;
    Figure { packet_len, train_count, seal_ns: per_packet(seal_best), open_ns: per_packet(open_best) }
}

impl Measurement {
    /// Nanoseconds to seal and open one packet of this class; infinite for a class that is not measured.
    pub(crate) fn cost_ns(&self, train_count: usize, packet_len: usize) -> f64 {
        let mut figures = self.figures.iter();
        let figure = figures.find(|figure| (figure.train_count, figure.packet_len) == (train_count, packet_len));
        figure.map_or(f64::INFINITY, |figure| figure.seal_ns + figure.open_ns)
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
