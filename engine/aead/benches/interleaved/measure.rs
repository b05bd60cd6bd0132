//! The measuring: every contender takes a turn in every round, so whatever else the machine does meets them all.

use std::time::Duration;

use ringfort_aead::{Operation, Provider, Shape, Suite, Workload};

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
    let operations = shape.operations();
    let work =
        |Contender { provider, suite }: &Contender| Workload::new(*provider, *suite, shape.clone(), PACKETS_PER_PASS);
    let mut works: Vec<_> = contenders.iter().map(work).collect();
    let mut samples = vec![vec![Vec::with_capacity(options.rounds); operations.len()]; contenders.len()];
    // The first round warms up caches, branch predictors and clocks, and is not counted.
    for round in 0..=options.rounds {
        for (work, samples) in works.iter_mut().zip(&mut samples) {
            let figures = work.turn(options.round, operations);
            if round > 0 {
                samples.iter_mut().zip(figures).for_each(|(samples, ns)| samples.push(ns));
            }
        }
    }
    let figures =
        |samples: Vec<Vec<f64>>| Figures(operations.iter().copied().zip(samples.into_iter().map(Spread::of)).collect());
    samples.into_iter().map(figures).collect()
}
