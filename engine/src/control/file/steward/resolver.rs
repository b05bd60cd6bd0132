//! Names of endpoints become addresses, on threads that nobody waits for.
//!
//! As `wg` does it: the system's resolver is asked, its first address is taken, and once a name has an address it is
//! not asked for again before the file changes. Unlike `wg`, a name without an address neither keeps the others from
//! working nor the gateway from starting. It is tried again, with growing pauses, for as long as it is in the file. The
//! name server may be behind the tunnel, and may come back at any time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_core::crypto::PublicKey;

use super::Task;
use super::unresolved::Unresolved;
use crate::control::key_text;

/// Names that are asked for at the same time.
const THREADS: usize = 4;
/// Pauses between two attempts grow from the first to the last of these.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

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

/// A name that was resolved.
#[derive(Debug)]
pub struct Found {
    /// What was asked.
    pub job: Job,
    /// Its first address.
    pub addr: SocketAddr,
    /// Of which version of the file the name is.
    generation: u64,
}

/// The threads, which are started when there is the first name.
#[derive(Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
    threads: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    unresolved: Arc<Unresolved>,
    tasks: Sender<Task>,
}

#[derive(Debug, Default)]
struct State {
    /// Names that an earlier version of the file had are dropped when they come back.
    generation: u64,
    /// By the time when each is due.
    waiting: BinaryHeap<Reverse<(Instant, Duration, Job)>>,
    /// How many have not been tried once.
    untried: usize,
}

impl Resolver {
    /// Tells `tasks` what it finds, and `unresolved` what it does not.
    pub fn new(tasks: Sender<Task>, unresolved: Arc<Unresolved>) -> Self {
        let shared = Shared { state: Mutex::default(), changed: Condvar::new(), unresolved, tasks };
        Self { shared: Arc::new(shared), threads: 0 }
    }

    /// Whether a name is of the file as it is now. It may have waited in the queue while the file was read again.
    pub fn is_current(&self, found: &Found) -> bool {
        self.shared.lock().generation == found.generation
    }

    /// Forgets all names, and resolves these. [`Task::Tried`] follows when all were tried once.
    pub fn replace(&mut self, jobs: Vec<Job>) {
        let count = jobs.len();
        let mut state = self.shared.lock();
        self.shared.unresolved.replace(&jobs);
        state.generation += 1;
        state.untried = count;
        let now = Instant::now();
        state.waiting = jobs.into_iter().map(|job| Reverse((now, Duration::ZERO, job))).collect();
        drop(state);
        self.shared.changed.notify_all();
        while self.threads < THREADS.min(count) {
            let shared = self.shared.clone();
            match thread::Builder::new().name("resolver".to_owned()).spawn(move || shared.run()) {
                Ok(_) => self.threads += 1,
                Err(error) => {
                    log::error!("cannot start a thread that resolves names: {error}");
                    return;
                }
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For as long as the process lives: a resolver that hangs cannot be stopped.
    fn run(&self) {
        loop {
            let (generation, pause, job) = self.next();
            let found = (job.host.as_str(), job.port).to_socket_addrs().map(|mut addrs| addrs.next());
            let is_first = pause.is_zero();
            match found {
                Ok(Some(addr)) => self.found(Found { job, addr, generation }),
                Ok(None) => self.failed(generation, job, pause, "it has no address"),
                Err(error) => self.failed(generation, job, pause, &error.to_string()),
            }
            if is_first {
                self.tried(generation);
            }
        }
    }

    fn next(&self) -> (u64, Duration, Job) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.waiting.peek() {
                Some(Reverse((due, ..))) if *due <= now => {
                    let Reverse((_, pause, job)) = state.waiting.pop().expect("it was there a line above");
                    return (state.generation, pause, job);
                }
                Some(Reverse((due, ..))) => {
                    let wait = due.saturating_duration_since(now);
                    state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn found(&self, found: Found) {
        let state = self.lock();
        if state.generation == found.generation {
            self.unresolved.found(&found.job.key);
            drop(state);
            log::info!("the endpoint of {} is {}", key_text::short(&found.job.key), found.addr);
            // Without a steward nobody needs it any more.
            let _ = self.tasks.send(Task::Resolved(found));
        }
    }

    fn failed(&self, generation: u64, job: Job, pause: Duration, why: &str) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        let level = if pause.is_zero() { log::Level::Warn } else { log::Level::Debug };
        let next = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        let (peer, due) = (key_text::short(&job.key), Instant::now() + next);
        self.unresolved.failed(&job.key, why, due);
        log::log!(level, "the endpoint of {peer}, {}, cannot be resolved: {why}; it is tried again", job.host);
        state.waiting.push(Reverse((due, next, job)));
        drop(state);
        self.changed.notify_one();
    }

    fn tried(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation {
            state.untried -= 1;
            if state.untried == 0 {
                let _ = self.tasks.send(Task::Tried);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn job(number: u8, host: &str) -> Job {
        Job { key: PublicKey::new([number; 32]), host: host.to_owned(), port: 7, is_news: false }
    }

    #[test]
    fn what_has_an_address_is_found_whatever_else_has_none() {
        let (tasks, told) = channel();
        let unresolved = Arc::new(Unresolved::default());
        let mut resolver = Resolver::new(tasks, unresolved.clone());
        resolver.replace(vec![job(1, "::1"), job(2, "no-such-name.invalid"), job(3, "127.0.0.1")]);
        let (mut found, mut stale) = (Vec::new(), None);
        loop {
            match told.recv_timeout(Duration::from_secs(60)).unwrap() {
                Task::Resolved(one) => {
                    assert!(resolver.is_current(&one));
                    found.push((one.job.key.as_bytes()[0], one.addr.to_string()));
                    stale = Some(one);
                }
                Task::Tried => break,
                other => panic!("{other:?}"),
            }
        }
        found.sort();
        assert_eq!(found, [(1, "[::1]:7".to_owned()), (3, "127.0.0.1:7".to_owned())]);
        assert_eq!(resolver.shared.lock().waiting.len(), 1, "the other is tried again");
        let known = unresolved.of(&PublicKey::new([2; 32])).unwrap();
        assert_eq!(known.name, "no-such-name.invalid:7");
        assert!(known.error.is_some() && known.next.is_some(), "{known:?}");
        assert!(unresolved.of(&PublicKey::new([1; 32])).is_none());
        // The same name is as old as it was, another one is new.
        resolver.replace(vec![job(2, "no-such-name.invalid")]);
        assert!(unresolved.of(&PublicKey::new([2; 32])).unwrap().since >= known.since);
        resolver.replace(Vec::new());
        assert!(unresolved.of(&PublicKey::new([2; 32])).is_none());
        assert!(!resolver.is_current(&stale.unwrap()), "the file has changed since");
    }
}
