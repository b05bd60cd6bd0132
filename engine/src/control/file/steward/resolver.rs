//! Names of endpoints become addresses, by a thread that nobody waits for, and a process that it asks.
//!
//! As `wg` does it: the system's resolver is asked, its first address is taken, and once a name has an address it is
//! not asked for again before the file changes. Unlike `wg`, a name without an address neither keeps the others from
//! working nor the gateway from starting. It is tried again, with growing pauses, for as long as it is in the file. The
//! name server may be behind the tunnel, and may come back at any time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ring_buffers::Waker;

use super::Task;
use super::unresolved::{Job, Unresolved};
use crate::control::key_text;
use crate::control::names::{Answer, Names, Outcome};

/// Names that are asked for at the same time: as many as the process looks up at once.
const AT_ONCE: usize = 16;
/// For an answer. The process itself gives up before.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pauses between two attempts grow from the first to the last of these.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

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

/// What the thread has to do.
#[derive(Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    waker: Waker,
    names: Arc<Names>,
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

/// A name that was asked for, or is about to be.
#[derive(Debug)]
struct Asked {
    generation: u64,
    /// Before this attempt.
    pause: Duration,
    job: Job,
    deadline: Instant,
}

impl Resolver {
    /// Tells `tasks` what it finds, and `unresolved` what it does not.
    ///
    /// # Errors
    /// The system's, if there is no thread.
    pub fn start(names: Arc<Names>, tasks: Sender<Task>, unresolved: Arc<Unresolved>) -> io::Result<Self> {
        let shared = Shared { state: Mutex::default(), waker: Waker::new()?, names, unresolved, tasks };
        let shared = Arc::new(shared);
        let of_thread = shared.clone();
        thread::Builder::new().name("resolver".to_owned()).spawn(move || of_thread.run())?;
        Ok(Self { shared })
    }

    /// Whether a name is of the file as it is now. It may have waited in the queue while the file was read again.
    pub fn is_current(&self, found: &Found) -> bool {
        self.shared.lock().generation == found.generation
    }

    /// Forgets all names, and resolves these. [`Task::Tried`] follows when all were tried once.
    pub fn replace(&mut self, jobs: Vec<Job>) {
        let mut state = self.shared.lock();
        self.shared.unresolved.replace(&jobs);
        state.generation += 1;
        state.untried = jobs.len();
        let now = Instant::now();
        state.waiting = jobs.into_iter().map(|job| Reverse((now, Duration::ZERO, job))).collect();
        drop(state);
        self.shared.waker.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the gateway ends.
    fn run(&self) {
        let (mut asked, mut last) = (HashMap::new(), 0);
        let mut is_there = true;
        while !self.names.is_ending() {
            while let Some(one) = self.next_due(&asked) {
                last += 1;
                match self.names.ask(last, &one.job.host) {
                    Ok(()) => drop(asked.insert(last, one)),
                    Err(error) => self.failed(one, &error.to_string()),
                }
            }
            self.wait(&asked, is_there);
            while is_there {
                match self.names.answer() {
                    Ok(Some(answer)) => self.hear(answer, &mut asked),
                    Ok(None) => break,
                    Err(error) => {
                        is_there = false;
                        self.lose(&mut asked, &error.to_string());
                    }
                }
            }
            let now = Instant::now();
            for (_, late) in asked.extract_if(|_, one| one.deadline <= now) {
                self.failed(late, "the process that looks names up (ringfort-dns) does not answer");
            }
        }
    }

    /// The next name to ask for, if it is time.
    fn next_due(&self, asked: &HashMap<u64, Asked>) -> Option<Asked> {
        let (mut state, now) = (self.lock(), Instant::now());
        let is_due = asked.len() < AT_ONCE && matches!(state.waiting.peek(), Some(Reverse((due, ..))) if *due <= now);
        let Reverse((_, pause, job)) = is_due.then(|| state.waiting.pop())??;
        Some(Asked { generation: state.generation, pause, job, deadline: now + PATIENCE })
    }

    /// Waits for an answer, for a name that is due, or for other names.
    fn wait(&self, asked: &HashMap<u64, Asked>, is_there: bool) {
        let due = match self.lock().waiting.peek() {
            Some(Reverse((due, ..))) if asked.len() < AT_ONCE => Some(*due),
            _ => None,
        };
        let next = asked.values().map(|one| one.deadline).chain(due).min();
        // Rounded up: it is time when it wakes.
        let left = next.map(|next| next.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let waker = PollFd::new(self.waker.as_fd(), PollFlags::POLLIN);
        let names = PollFd::new(self.names.as_fd(), PollFlags::POLLIN);
        let all = &mut [waker, names][..if is_there { 2 } else { 1 }];
        let _ = poll(all, timeout);
        self.waker.clear();
    }

    fn hear(&self, answer: Answer, asked: &mut HashMap<u64, Asked>) {
        match answer {
            Answer::Begun { gaps } => {
                gaps.iter().for_each(|gap| log::warn!("the sandbox of ringfort-dns has a gap: {gap}"));
            }
            Answer::Ended { number, outcome } => {
                // It may have come too late.
                let Some(one) = asked.remove(&number) else { return };
                match outcome {
                    Outcome::Found(addr) => self.found(one, addr),
                    Outcome::Failed(why) => self.failed(one, &why),
                }
            }
        }
    }

    /// There will be no answers any more.
    fn lose(&self, asked: &mut HashMap<u64, Asked>, why: &str) {
        if !self.names.is_ending() {
            log::error!("names of endpoints are not resolved any more: {why}");
            asked.drain().for_each(|(_, one)| self.failed(one, why));
        }
    }

    fn found(&self, Asked { generation, pause, job, .. }: Asked, mut addr: SocketAddr) {
        addr.set_port(job.port);
        let mut state = self.lock();
        if state.generation == generation {
            self.unresolved.found(&job.key);
            log::info!("the endpoint of {} is {addr}", key_text::short(&job.key));
            // Without a steward nobody needs it any more.
            let _ = self.tasks.send(Task::Resolved(Found { job, addr, generation }));
            self.tried(&mut state, pause);
        }
    }

    fn failed(&self, Asked { generation, pause, job, .. }: Asked, why: &str) {
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
        self.tried(&mut state, pause);
    }

    /// It was, after this pause.
    fn tried(&self, state: &mut State, pause: Duration) {
        if pause.is_zero() {
            state.untried -= 1;
            if state.untried == 0 {
                let _ = self.tasks.send(Task::Tried);
            }
        }
    }
}

#[cfg(test)]
impl Found {
    /// A name that no version of the file has.
    pub fn of_no_file() -> Self {
        let job =
            Job { key: ringfort_core::crypto::PublicKey::new([1; 32]), host: "x".into(), port: 7, is_news: false };
        Self { job, addr: ([192, 0, 2, 1], 7).into(), generation: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use ringfort_core::crypto::PublicKey;

    use super::*;
    use crate::control::names::test;

    fn job(number: u8, host: &str) -> Job {
        Job { key: PublicKey::new([number; 32]), host: host.to_owned(), port: 7, is_news: false }
    }

    #[test]
    fn what_has_an_address_is_found_whatever_else_has_none() {
        let (tasks, told) = channel();
        let unresolved = Arc::new(Unresolved::default());
        let names = Arc::new(test::names());
        let mut resolver = Resolver::start(names.clone(), tasks, unresolved.clone()).unwrap();
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

    /// Each is tried, more than are asked for at the same time, and it is said why none has an address.
    #[test]
    fn names_fail_once_there_is_nobody_to_ask() {
        let (tasks, told) = channel();
        let unresolved = Arc::new(Unresolved::default());
        let mut resolver = Resolver::start(Arc::new(test::nobody()), tasks, unresolved.clone()).unwrap();
        let jobs: Vec<_> = (0..2 * AT_ONCE).map(|number| job(u8::try_from(number).unwrap(), "localhost")).collect();
        resolver.replace(jobs);
        assert!(matches!(told.recv_timeout(Duration::from_secs(60)), Ok(Task::Tried)));
        let known = unresolved.of(&PublicKey::new([2 * AT_ONCE as u8 - 1; 32])).unwrap();
        assert!(known.error.is_some_and(|why| why.contains("restart the gateway")));
    }
}
