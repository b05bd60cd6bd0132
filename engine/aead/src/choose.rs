//! Which providers are used: tested, measured, and for each class of packets the fastest.

use std::fmt;
use std::str::FromStr;

use crate::plan::Mix;
use crate::suite::names;
use crate::{Measurement, Plan, Provider, SelfTestError, Suite, UnknownProvider, measure};

/// What `--aead` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Measure, and take the fastest for each class of packets.
    #[default]
    Auto,
    /// This one, for every suite that it has; the fastest for the others.
    Fixed(Provider),
}

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
    /// Every provider that was measured.
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

/// Tests and measures every provider and takes the fastest correct one for each class of packets. Takes less than
/// a tenth of a second.
///
/// # Errors
/// The first failed self-test, if no provider of a suite passes its own.
pub fn choose() -> Result<Choice, SelectionError> {
    Selection::Auto.resolve()
}

impl Selection {
    /// Tests and measures what may be used under this selection. Takes less than a tenth of a second.
    ///
    /// # Errors
    /// A fixed provider that does not run on this CPU, or its failed self-test; the first failed one, if no provider of
    /// a suite passes its own.
    pub fn resolve(self) -> Result<Choice, SelectionError> {
        self.resolve_by(Provider::self_test)
    }

    /// The same with another examiner, for the tests of the fallback.
    fn resolve_by(self, examine: fn(Provider, Suite) -> Result<(), SelfTestError>) -> Result<Choice, SelectionError> {
        let mut failures = Vec::new();
        let mut suites = Vec::new();
        for suite in Suite::ALL {
            suites.push(self.resolve_suite(suite, examine, &mut failures)?);
        }
        let suites = suites.try_into().expect("one entry for each suite");
        Ok(Choice { selection: self, suites, failures })
    }

    fn resolve_suite(
        self,
        suite: Suite,
        examine: fn(Provider, Suite) -> Result<(), SelfTestError>,
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
        let mut measurements = Vec::new();
        let mut first_failure = None;
        for provider in candidates {
            match examine(provider, suite) {
                Ok(()) => measurements.push(measure(suite, provider)),
                Err(failure) => {
                    failures.push(failure);
                    first_failure.get_or_insert(failure);
                }
            }
        }
        if measurements.is_empty() {
            return Err(first_failure.expect("no candidate passed, and there was at least one").into());
        }
        let mix = Mix::new(|count, size| {
            let cost = |measured: &&Measurement| measured.cost_ns(count, size);
            let fastest = measurements.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
            fastest.expect("at least one was measured").provider
        });
        Ok(SuiteChoice { suite, measurements, mix, is_fixed: fixed.is_some() })
    }
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
        let why = if self.is_fixed { "as configured" } else { "the fastest here" };
        write!(f, "{}: {}, {why} (ns per packet, seal/open)", self.suite, self.mix)?;
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

    fn fails(provider: Provider, suite: Suite) -> Result<(), SelfTestError> {
        Err(SelfTestError { provider, suite, check: "broken for the test" })
    }

    #[test]
    fn a_provider_that_fails_is_left_out_and_named() {
        let choice = Selection::Auto.resolve_by(|provider, suite| match provider {
            Provider::RustCrypto => Ok(()),
            _ => fails(provider, suite),
        });
        let choice = choice.unwrap();
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
            let error = selection.resolve_by(fails).unwrap_err();
            assert_eq!(error, fails(Provider::RustCrypto, suite).unwrap_err().into());
        }
    }
}
