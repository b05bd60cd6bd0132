//! Times of two classes, and Welch's t-test on them.

use std::time::Instant;

/// Something to be timed on inputs of two classes.
pub trait Bench {
    /// Inputs that are prepared at once, before any of them is timed.
    fn slots(&self) -> usize;

    /// Makes an input of that class. What is done must not depend on it, only the bytes.
    fn prepare(&mut self, slot: usize, class: bool, random: u64);

    /// What is timed.
    fn run(&mut self, slot: usize);
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The largest |t| of all crops.
    pub t: f64,
    /// Mean times of the two classes, the slowest tenth left out.
    pub mean_ns: [f64; 2],
}

impl Outcome {
    pub fn is_clean(&self) -> bool {
        self.t < 4.5
    }

    pub fn is_leak(&self) -> bool {
        self.t >= 10.0
    }

    pub fn is_unclear(&self) -> bool {
        !self.is_clean() && !self.is_leak()
    }
}

/// Upper bounds beyond which times are left out, each for a test of its own: interrupts lengthen times, and where
/// exactly they hide a difference is not known beforehand. As in dudect, from the slowest tenth of a percent to nearly
/// all.
const CROPS: usize = 12;

/// Mean and variance, one value at a time (Welford).
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance_of_mean(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

fn t(classes: &[Moments; 2]) -> f64 {
    let [a, b] = classes;
    // Too few for a test that is one of the normal distribution.
    if a.count < 1000.0 || b.count < 1000.0 {
        return 0.0;
    }
    let variance = a.variance_of_mean() + b.variance_of_mean();
    if variance > 0.0 { (a.mean - b.mean).abs() / variance.sqrt() } else { 0.0 }
}

/// Times `bench` on `measurements` inputs, each of a class chosen at random.
pub fn measure(mut bench: impl Bench, measurements: usize) -> Outcome {
    let mut rng = Repeatable(0x1234_5678);
    let warm_up = measurements / 20;
    let mut times: Vec<(bool, f64)> = Vec::with_capacity(measurements + warm_up);
    let mut classes = vec![false; bench.slots()];
    while times.len() < measurements + warm_up {
        for (slot, class) in classes.iter_mut().enumerate() {
            *class = rng.next() & 1 == 1;
            bench.prepare(slot, *class, rng.next());
        }
        for (slot, class) in classes.iter().enumerate() {
            let start = Instant::now();
            bench.run(slot);
            times.push((*class, start.elapsed().as_nanos() as f64));
        }
    }
    let times = &times[warm_up..];
    let mut sorted: Vec<f64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_by(f64::total_cmp);
    // 1 - 2^-10, then towards 1 - 2^-(1/12): nearly all.
    let quantile = |crop: usize| 1.0 - 0.5f64.powf(10.0 * (CROPS - crop) as f64 / CROPS as f64);
    let bound = |quantile: f64| sorted[((sorted.len() - 1) as f64 * quantile) as usize];
    let largest =
        (0..CROPS).map(|crop| t(&moments(times, bound(quantile(crop))))).fold(t(&moments(times, f64::MAX)), f64::max);
    Outcome { t: largest, mean_ns: moments(times, bound(0.9)).map(|moments| moments.mean) }
}

/// Of both classes, of times up to `bound`.
fn moments(times: &[(bool, f64)], bound: f64) -> [Moments; 2] {
    let mut classes = [Moments::default(); 2];
    times.iter().filter(|(_, time)| *time <= bound).for_each(|(class, time)| classes[usize::from(*class)].add(*time));
    classes
}

/// SplitMix64 (Steele, Lea, Flood 2014): the classes are the same in every run, the times are not.
pub struct Repeatable(pub u64);

impl Repeatable {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}
