//! Which providers are used: tested, measured, and for each class of packets the fastest.

use std::fmt;
use std::str::FromStr;

use crate::measure::{Crew, measure_with};
use crate::plan::Mix;
use crate::suite::names;
use crate::{Measurement, Plan, Provider, SelfTestError, Suite, UnknownProvider};

/// What `--aead` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Measure, and take the fastest for each class of packets.
    #[default]
    Auto,
    /// This one, for every suite that it has; the fastest for the others.
    Fixed(Provider),
}

/// Whether a provider computes correctly.
type Examine = fn(Provider, Suite) -> Result<(), SelfTestError>;

/// The providers to use, and why.
#[derive(Clone, Debug)]
pub struct Choice {
    /// How they were selected.
    pub selection: Selection,
    /// One entry for each suite, in the order of [`Suite::ALL`].
    pub suites: [SuiteChoice; Suite::ALL.len()],
    /// Providers that were left out because they do not compute correctly here: worth a warning.
    pub failures: Vec<SelfTestError>,
}

/// The providers of one suite.
#[derive(Clone, Debug)]
pub struct SuiteChoice {
    /// Which suite.
    pub suite: Suite,
    /// Every provider that was measured: none where one was asked for.
    pub measurements: Vec<Measurement>,
    mix: Mix,
    is_fixed: bool,
}

/// Why there is no provider to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The one that was asked for, or the last that there is, does not compute correctly here.
    #[error("{0}: choose another with --aead, or auto")]
    SelfTest(#[from] SelfTestError),
    /// The one that was asked for does not run on this CPU.
    #[error("the AEAD provider {provider} does not run on this CPU, {}: choose --aead auto", lack(*provider))]
    Unavailable {
        /// Which provider.
        provider: Provider,
    },
}

/// What a provider that does not run here is missing.
fn lack(provider: Provider) -> String {
    format!("which lacks {}", names(provider.missing_features().into_iter()))
}

/// Tests and measures every provider and takes the fastest correct one for each class of packets. Takes some tenths of
/// a second, of all CPUs.
///
/// # Errors
/// The first failed self-test, if no provider of a suite passes its own.
pub fn choose() -> Result<Choice, SelectionError> {
    Selection::Auto.resolve()
}

impl Selection {
    /// Tests what may be used under this selection, and measures it where that leaves a choice. Takes some tenths of a
    /// second, of all CPUs; two seconds on a machine that is full.
    ///
    /// # Errors
    /// A fixed provider that does not run on this CPU, or its failed self-test; the first failed one, if no provider of
    /// a suite passes its own.
    pub fn resolve(self) -> Result<Choice, SelectionError> {
        self.resolve_by(Provider::self_test, Crew::anywhere())
    }

    /// The same, measured by `threads` threads of which each calls `settle` with its number before it begins. There it
    /// moves to the CPU of a worker, so what is measured are the CPUs that will do the work.
    ///
    /// # Errors
    /// As [`Selection::resolve`].
    pub fn resolve_on(self, threads: usize, settle: &(dyn Fn(usize) + Sync)) -> Result<Choice, SelectionError> {
        self.resolve_by(Provider::self_test, Crew { threads, settle })
    }

    /// The same with another examiner, for the tests of the fallback.
    fn resolve_by(self, examine: Examine, crew: Crew<'_>) -> Result<Choice, SelectionError> {
        let mut failures = Vec::new();
        let mut suites = Vec::new();
        for suite in Suite::ALL {
            suites.push(self.resolve_suite(suite, examine, crew, &mut failures)?);
        }
        let suites = suites.try_into().expect("one entry for each suite");
        Ok(Choice { selection: self, suites, failures })
    }

    fn resolve_suite(
        self,
        suite: Suite,
        examine: Examine,
        crew: Crew<'_>,
        failures: &mut Vec<SelfTestError>,
    ) -> Result<SuiteChoice, SelectionError> {
        let fixed = match self {
            Self::Fixed(provider) if provider.implements(suite) => Some(provider),
            Self::Fixed(_) | Self::Auto => None,
        };
        if let Some(provider) = fixed.filter(|provider| !provider.is_available(suite)) {
            return Err(SelectionError::Unavailable { provider });
        }
        let candidates: Vec<_> = fixed.map_or_else(|| Provider::available(suite).collect(), |fixed| vec![fixed]);
        let mut passed = Vec::new();
        let mut first_failure = None;
        for provider in candidates {
            match examine(provider, suite) {
                Ok(()) => passed.push(provider),
                Err(failure) => {
                    failures.push(failure);
                    first_failure.get_or_insert(failure);
                }
            }
        }
        if passed.is_empty() {
            return Err(first_failure.expect("no candidate passed, and there was at least one").into());
        }
        if let Some(provider) = fixed {
            // Nothing to choose, so nobody waits for figures.
            return Ok(SuiteChoice { suite, measurements: vec![], mix: Mix::fixed(provider), is_fixed: true });
        }
        let measurements: Vec<_> = passed.into_iter().map(|provider| measure_with(suite, provider, crew)).collect();
        let mix = fastest(&measurements);
        Ok(SuiteChoice { suite, measurements, mix, is_fixed: false })
    }
}

/// For each class of packets who is the fastest by these figures, sealing and opening together; of equals the first.
/// There is at least one measurement.
fn fastest(measurements: &[Measurement]) -> Mix {
    Mix::new(|count, size| {
        let cost = |measured: &&Measurement| measured.cost_ns(count, size);
        let fastest = measurements.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        fastest.expect("at least one was measured").provider
    })
}

impl Choice {
    /// What to give to [`SealKey::new`] and [`OpenKey::new`].
    ///
    /// [`SealKey::new`]: crate::SealKey::new
    /// [`OpenKey::new`]: crate::OpenKey::new
    pub fn plan(&self) -> Plan {
        Plan::new(|suite| self.suites[suite as usize].mix)
    }
}

impl SuiteChoice {
    /// In one line who does what: `train; aws-lc for 1 × 64 B`.
    pub fn summary(&self) -> String {
        self.mix.to_string()
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

/// A paragraph for each suite, then the failures.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, suite) in self.suites.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{suite}")?;
        }
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}

/// Several lines: the providers, a table of what was measured, and what this CPU cannot run.
impl fmt::Display for SuiteChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.is_fixed { "as configured" } else { "the fastest here (ns per packet, seal/open)" };
        write!(f, "{}: {}, {why}", self.suite, self.mix)?;
        for measurement in &self.measurements {
            write!(f, "\n{measurement}")?;
        }
        let has_suite = Provider::ALL.iter().copied().filter(|provider| provider.implements(self.suite));
        for provider in has_suite.filter(|provider| !provider.is_available(self.suite)) {
            write!(f, "\n  {provider:<11}not on this CPU, {}", lack(provider))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, PACKET_SIZES, TRAIN_COUNTS};

    /// Figures that nobody measured: `ns` says what sealing and opening take, by count and size.
    fn figures(provider: Provider, ns: impl Fn(usize, usize) -> (f64, f64)) -> Measurement {
        let classes = PACKET_SIZES.iter().flat_map(|&size| TRAIN_COUNTS.iter().map(move |&count| (size, count)));
        let figure = |(packet_len, train_count)| {
            let (seal_ns, open_ns) = ns(train_count, packet_len);
            Figure { packet_len, train_count, seal_ns, open_ns }
        };
        Measurement { provider, suite: Suite::ChaCha20Poly1305, figures: classes.map(figure).collect() }
    }

    #[test]
    fn each_class_goes_to_the_fastest_by_the_figures() {
        let steady = figures(Provider::RustCrypto, |_, _| (100.0, 100.0));
        // Faster in trains of small packets only; the sum of both decides, not one of them.
        let batching = figures(Provider::Train, |count, size| match (count, size) {
            (8 | 44, 64) => (150.0, 49.0),
            _ => (10.0, 191.0),
        });
        let mix = fastest(&[steady.clone(), batching.clone()]);
        for (count, size) in TRAIN_COUNTS.iter().flat_map(|&count| PACKET_SIZES.map(|size| (count, size))) {
            let expected = if size == 64 && count >= 8 { Provider::Train } else { Provider::RustCrypto };
            assert_eq!(mix.provider(count, size), expected, "{count} × {size}");
        }
        assert_eq!(mix, fastest(&[batching, steady]), "in whatever order they were measured");
    }

    #[test]
    fn of_equals_the_first_is_taken_and_what_was_not_measured_never_is() {
        let alike = |provider| figures(provider, |_, _| (5.0, 5.0));
        assert_eq!(fastest(&[alike(Provider::AwsLc), alike(Provider::RustCrypto)]), Mix::fixed(Provider::AwsLc));
        let mut partial = figures(Provider::Train, |_, _| (1.0, 1.0));
        partial.figures.retain(|figure| figure.packet_len == 64);
        let mix = fastest(&[partial, alike(Provider::AwsLc)]);
        assert_eq!(
            [64, 576, 1420].map(|size| mix.provider(44, size)),
            [Provider::Train, Provider::AwsLc, Provider::AwsLc]
        );
    }

    #[test]
    fn a_choice_says_what_it_rests_on() {
        let measurements = vec![figures(Provider::AwsLc, |_, _| (7.0, 8.0))];
        let mix = fastest(&measurements);
        let chosen = SuiteChoice { suite: Suite::ChaCha20Poly1305, measurements, mix, is_fixed: false };
        let shown = chosen.to_string();
        let mut lines = shown.lines();
        assert_eq!(lines.next(), Some("chacha20poly1305: aws-lc, the fastest here (ns per packet, seal/open)"));
        assert_eq!(
            lines.next(),
            Some("  aws-lc        64 B  ×1  7/8        ×2  7/8        ×8  7/8        ×44 7/8      ")
        );
        let rest: Vec<_> = lines.skip(PACKET_SIZES.len() - 1).collect();
        let suite = Suite::ChaCha20Poly1305;
        let runs_nowhere = |provider: &&Provider| provider.implements(suite) && !provider.is_available(suite);
        assert_eq!(rest.len(), Provider::ALL.iter().filter(runs_nowhere).count(), "who does not run here: {shown}");
        assert!(rest.iter().all(|line| line.contains("not on this CPU, which lacks")), "{shown}");
    }

    fn fails(provider: Provider, suite: Suite) -> Result<(), SelfTestError> {
        Err(SelfTestError { provider, suite, check: "broken for the test" })
    }

    #[test]
    fn a_provider_that_fails_is_left_out_and_named() {
        let examine = |provider, suite| match provider {
            Provider::RustCrypto => Ok(()),
            _ => fails(provider, suite),
        };
        let choice = Selection::Auto.resolve_by(examine, Crew::anywhere()).unwrap();
        let expected: Vec<_> = Suite::ALL
            .into_iter()
            .flat_map(|suite| Provider::available(suite).map(move |provider| (provider, suite)))
            .filter(|(provider, _)| *provider != Provider::RustCrypto)
            .collect();
        let failed: Vec<_> = choice.failures.iter().map(|failure| (failure.provider, failure.suite)).collect();
        assert_eq!(failed, expected);
        assert_eq!(choice.plan(), Plan::fixed(Provider::RustCrypto));
        assert!(
            choice.to_string().contains("aws-lc failed its self-test in aes256gcm: broken for the test"),
            "{choice}"
        );
    }

    #[test]
    fn without_any_that_passes_there_is_no_choice() {
        let suite = Suite::ChaCha20Poly1305;
        for selection in [Selection::Auto, Selection::Fixed(Provider::RustCrypto)] {
            let error = selection.resolve_by(fails, Crew::anywhere()).unwrap_err();
            assert_eq!(error, fails(Provider::RustCrypto, suite).unwrap_err().into());
        }
    }
}
