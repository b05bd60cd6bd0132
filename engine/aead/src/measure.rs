//! How fast a provider is on this machine: a short measurement at start-up.
//!
//! It measures a machine at work. Where two hyperthreads share a core, a busy neighbour takes half of what a provider
//! has. It does not take the same from each. One that waits for its own results loses little; one that fills the idle
//! ports of the core loses more. A gateway has a worker on each CPU, and under load all of them work. So while one
//! thread is measured, others do the same work on the other CPUs. Which CPUs these are, the [`Crew`] says.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crate::plan::{PACKET_SIZES, TRAIN_COUNTS};
use crate::workload::{Operation, Shape, Workload};
use crate::{Provider, Suite};

/// Time for each pair of size and count, sealing and opening together; a round that has begun is finished.
const BUDGET_PER_CLASS: Duration = Duration::from_millis(1);
/// Rounds per class, if they fit into [`CEILING_PER_CLASS`]: one that was preempted may end the time.
const ROUNDS_WANTED: usize = 9;
/// No more rounds than [`ROUNDS_MIN`] begin after this time, so the start of a gateway on a full machine ends.
const CEILING_PER_CLASS: Duration = Duration::from_millis(20);
/// The fewest rounds per class, however slow: the first one warms up.
const ROUNDS_MIN: usize = 3;
/// Packets per round, as many trains as they make: enough for the clock's resolution.
const PACKETS_PER_ROUND: usize = 44;
/// Pairs of size and count.
const CLASSES: usize = PACKET_SIZES.len() * TRAIN_COUNTS.len();

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

/// The speed of one provider for trains of one shape: the lower quartile of several rounds. Rounds in which this thread
/// was preempted are above it, and those in which a neighbour was are below.
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

/// The threads that work while one is measured, that one included.
#[derive(Clone, Copy)]
pub(crate) struct Crew<'a> {
    /// How many.
    pub(crate) threads: usize,
    /// Each calls it with its number before it begins, and may move to its CPU there. Number 0 is measured.
    pub(crate) settle: &'a (dyn Fn(usize) + Sync),
}

impl Crew<'_> {
    /// One for each CPU that the process may use, wherever the kernel puts it.
    pub(crate) fn anywhere() -> Self {
        Self { threads: thread::available_parallelism().map_or(1, usize::from), settle: &|_| {} }
    }
}

/// Measures `provider` over every pair of [`PACKET_SIZES`] and [`TRAIN_COUNTS`], with all CPUs at work: 12 ms or more,
/// and on a full machine some 240 ms.
pub fn measure(suite: Suite, provider: Provider) -> Measurement {
    measure_with(suite, provider, Crew::anywhere())
}

/// The same with this crew.
pub(crate) fn measure_with(suite: Suite, provider: Provider, Crew { threads, settle }: Crew<'_>) -> Measurement {
    let class = AtomicUsize::new(0);
    let measured = || -> Vec<_> {
        (0..CLASSES)
            .map(|index| {
                class.store(index, Ordering::Relaxed);
                measure_class(suite, provider, index)
            })
            .collect()
    };
    let accompany = |number| {
        settle(number);
        accompany(suite, provider, || class.load(Ordering::Relaxed))
    };
    let figures = thread::scope(|scope| {
        // Also by a panic: nobody would end the neighbours.
        let _over = Over(&class);
        for number in 1..threads {
            // One that cannot be started is missed, but the figures stand without it.
            let _ = Builder::new().spawn_scoped(scope, move || accompany(number));
        }
        // A thread of its own: the caller is not to be moved.
        let alone = Builder::new().spawn_scoped(scope, || {
            settle(0);
            measured()
        });
        match alone {
            Ok(alone) => alone.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => measured(),
        }
    });
    Measurement { provider, suite, figures }
}

/// Tells the neighbours that the last class was measured.
struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(CLASSES, Ordering::Relaxed);
    }
}

/// Does what is measured, until the last class was. Returns the number of passes.
fn accompany(suite: Suite, provider: Provider, mut class: impl FnMut() -> usize) -> usize {
    let mut passes = 0;
    loop {
        let index = class();
        if index >= CLASSES {
            return passes;
        }
        let mut work = workload(suite, provider, index);
        while class() == index {
            work.pass(Operation::Seal);
            work.pass(Operation::Open);
            passes += 1;
        }
    }
}

/// Size and count of a class, sizes outermost.
fn class_of(index: usize) -> (usize, usize) {
    (PACKET_SIZES[index / TRAIN_COUNTS.len()], TRAIN_COUNTS[index % TRAIN_COUNTS.len()])
}

fn workload(suite: Suite, provider: Provider, index: usize) -> Workload {
    let (len, count) = class_of(index);
    Workload::new(provider, suite, Shape::Train { len, count }, PACKETS_PER_ROUND)
}

/// Whether so many rounds, in so much time, say too little of a class.
fn is_too_little(rounds: usize, elapsed: Duration) -> bool {
    rounds < ROUNDS_MIN || elapsed < BUDGET_PER_CLASS || (rounds < ROUNDS_WANTED && elapsed < CEILING_PER_CLASS)
}

fn measure_class(suite: Suite, provider: Provider, index: usize) -> Figure {
    let mut work = workload(suite, provider, index);
    let (mut seal, mut open) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    while is_too_little(seal.len(), begin.elapsed()) {
        seal.push(work.pass(Operation::Seal));
        open.push(work.pass(Operation::Open));
    }
    let packets = work.packets() as f64;
    let quartile_ns = |mut rounds: Vec<Duration>| {
        rounds.sort_unstable();
        rounds[rounds.len() / 4].as_nanos() as f64 / packets
    };
    let (packet_len, train_count) = class_of(index);
    Figure { packet_len, train_count, seal_ns: quartile_ns(seal), open_ns: quartile_ns(open) }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_class_is_measured_once_sizes_outermost() {
        let classes: Vec<_> = (0..CLASSES).map(class_of).collect();
        let expected = PACKET_SIZES.iter().flat_map(|&len| TRAIN_COUNTS.iter().map(move |&count| (len, count)));
        assert_eq!(classes, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_neighbour_does_what_is_measured_until_the_last_class_was() {
        // What it reads, in turn: two passes of the first class and one of the second.
        let mut read = [0, 0, 0, 1, 1, 1, CLASSES, CLASSES].into_iter();
        let passes = accompany(Suite::ChaCha20Poly1305, Provider::AwsLc, || read.next().expect("it has ended"));
        assert_eq!((passes, read.next()), (3, None));
    }

    #[test]
    fn a_class_gets_its_rounds_its_time_and_not_much_more() {
        let ms = Duration::from_millis;
        // On a quiet machine the time counts, then the rounds.
        assert!(is_too_little(1000, Duration::ZERO) && is_too_little(8, ms(1)));
        assert!(!is_too_little(9, ms(1)));
        // On a full one the ceiling, but never fewer rounds than make a figure.
        assert!(is_too_little(8, ms(19)) && is_too_little(2, ms(1000)));
        assert!(!is_too_little(3, ms(20)));
    }

    #[test]
    fn each_of_a_crew_settles_and_the_caller_does_not() {
        let (settled, caller) = (Mutex::new(Vec::new()), thread::current().id());
        let settle = |number| {
            assert_ne!(thread::current().id(), caller);
            settled.lock().unwrap().push(number);
        };
        let measured = measure_with(Suite::ChaCha20Poly1305, Provider::AwsLc, Crew { threads: 3, settle: &settle });
        assert_eq!(measured.figures.len(), CLASSES);
        let mut settled = settled.into_inner().unwrap();
        settled.sort_unstable();
        assert_eq!(settled, [0, 1, 2]);
    }

    #[test]
    fn neighbours_end_when_the_measuring_does() {
        let class = AtomicUsize::new(0);
        drop(Over(&class));
        assert_eq!(class.into_inner(), CLASSES);
        // It would not return if they did not.
        assert_eq!(measure(Suite::Aes256Gcm, Provider::AwsLc).figures.len(), CLASSES);
    }
}
