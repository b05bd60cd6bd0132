//! What is tested: each provider, with each cipher suite that it has.

use ringfort_aead::{KEY_LEN, OpenKey, Plan, Provider, SealKey, Suite};

/// A provider and a suite of it that runs on this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub provider: Provider,
    pub suite: Suite,
}

impl Subject {
    /// Every pair that this CPU can run.
    pub fn all() -> Vec<Self> {
        let pairs =
            Suite::ALL.iter().flat_map(|&suite| Provider::TESTED.iter().map(move |&provider| Self { provider, suite }));
        pairs.filter(|subject| subject.provider.is_available(subject.suite)).collect()
    }

    /// Every pair of that suite that this CPU can run.
    pub fn of(suite: Suite) -> Vec<Self> {
        Self::all().into_iter().filter(|subject| subject.suite == suite).collect()
    }

    /// The pair of these names, `provider/suite`.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|subject| subject.to_string() == name)
    }

    pub fn seal_key(self, key: &[u8; KEY_LEN]) -> SealKey {
        SealKey::new(Plan::fixed(self.provider), self.suite, key)
    }

    pub fn open_key(self, key: &[u8; KEY_LEN]) -> OpenKey {
        OpenKey::new(Plan::fixed(self.provider), self.suite, key)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.suite)
    }
}
