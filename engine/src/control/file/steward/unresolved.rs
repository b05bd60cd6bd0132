//! Names of endpoints that have no address yet: what the resolver's threads know, for control to show.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ringfort_core::crypto::PublicKey;
use ringfort_core::diagnosis::UnresolvedName;

/// A name to be resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// Whose endpoint it is.
    pub key: PublicKey,
    /// The name, and the port behind it.
    pub host: String,
    /// See there.
    pub port: u16,
    /// The file has changed: the address counts more than where the peer was heard from.
    pub is_news: bool,
}

/// The names of all peers. It is locked for moments only, and never while a resolver is asked.
#[derive(Debug, Default)]
pub struct Unresolved(Mutex<HashMap<PublicKey, Entry>>);

#[derive(Debug)]
struct Entry {
    host: String,
    port: u16,
    since: Instant,
    /// What the resolver said last; `None` if it is being asked for the first time.
    error: Option<String>,
    /// When it is asked again, unless it is being asked.
    next: Option<Instant>,
}

impl Unresolved {
    /// What is known of a peer's name, if it has one without an address.
    #[must_use]
    pub fn of(&self, key: &PublicKey) -> Option<UnresolvedName> {
        let names = self.lock();
        let Entry { host, port, since, error, next } = names.get(key)?;
        Some(UnresolvedName {
            name: if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") },
            since: since.elapsed(),
            error: error.clone(),
            next: next.map(|next| next.saturating_duration_since(Instant::now())),
        })
    }

    /// Names to resolve, in place of all before. What was known of the same names stays.
    pub(super) fn replace(&self, jobs: &[Job]) {
        let mut names = self.lock();
        let mut before = std::mem::take(&mut *names);
        let now = Instant::now();
        for Job { key, host, port, .. } in jobs {
            let known = before.remove(key).filter(|entry| entry.host == *host && entry.port == *port);
            let new = || Entry { host: host.clone(), port: *port, since: now, error: None, next: None };
            names.insert(*key, known.unwrap_or_else(new));
        }
    }

    pub(super) fn failed(&self, key: &PublicKey, why: &str, next: Instant) {
        if let Some(entry) = self.lock().get_mut(key) {
            (entry.error, entry.next) = (Some(why.to_owned()), Some(next));
        }
    }

    pub(super) fn found(&self, key: &PublicKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PublicKey, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
