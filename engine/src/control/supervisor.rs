//! What a service manager is told: that we are ready, that we end, and that all our threads are alive (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` and `WATCHDOG_USEC` in the environment nothing here does anything.

use std::sync::Arc;
use std::thread;

use ringfort_worker::WorkerStats;
use ringfort_worker::queues::Queues;
use sd_notify::NotifyState;

use super::error::DaemonError;

/// How often the manager hears from us in the time after which it gives us up. Twice is what sd_watchdog_enabled(3)
/// recommends; the third leaves a slow thread the time of one round to answer.
const ROUNDS: u32 = 3;

/// Tells the manager that the daemon serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells the manager that the daemon ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the manager who is the service's main process from now on. It believes nobody but us.
pub fn handed_over(heir: u32) {
    tell(&[NotifyState::MainPid(heir)]);
}

fn tell(state: &[NotifyState<'_>]) {
    // A manager that does not listen will find out in its own way, and we serve all the same.
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("the service manager was not told ({error}): {state:?}");
    }
}

/// Feeds the manager's watchdog for as long as control and every worker turn, if the manager has one.
///
/// It is a thread of its own, so it also notices a control thread that hangs, and may wait for the manager itself. An
/// idle thread makes no turns, so each is woken once a round: a third of `WatchdogSec`.
///
/// # Errors
/// The system's, if there is no thread for it.
pub fn watch(queues: &Arc<Queues>, stats: &[Arc<WorkerStats>]) -> Result<(), DaemonError> {
    let Some(limit) = sd_notify::watchdog_enabled() else { return Ok(()) };
    let mut threads = Threads::new(queues.clone(), stats.to_vec());
    let watch = move || {
        loop {
            threads.wake();
            thread::sleep(limit / ROUNDS);
            match threads.stuck() {
                None => tell(&[NotifyState::Watchdog]),
                Some(name) => log::error!(
                    "{name} has not turned for {:.1} s: the service manager is not told that we are well, and will \
                     restart us after {:.1} s",
                    (limit / ROUNDS).as_secs_f32(),
                    limit.as_secs_f32()
                ),
            }
        }
    };
    let spawned = thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
    spawned.map(drop).map_err(|error| DaemonError::system("start the watchdog's thread", error))
}

/// The threads that must turn, and how often each had when we looked last.
struct Threads {
    queues: Arc<Queues>,
    stats: Vec<Arc<WorkerStats>>,
    control: u64,
    workers: Vec<u64>,
}

impl Threads {
    fn new(queues: Arc<Queues>, stats: Vec<Arc<WorkerStats>>) -> Self {
        let workers = stats.iter().map(|stats| stats.turns.get()).collect();
        Self { control: queues.control.turns(), workers, queues, stats }
    }

    /// Has each make a turn.
    fn wake(&self) {
        self.queues.control.wake();
        self.queues.workers.iter().for_each(|inbox| inbox.wake());
    }

    /// One that has made no turn since this was asked last.
    fn stuck(&mut self) -> Option<String> {
        let mut stuck = None;
        for (index, (stats, seen)) in self.stats.iter().zip(&mut self.workers).enumerate() {
            let turns = stats.turns.get();
            if std::mem::replace(seen, turns) == turns {
                stuck = Some(format!("worker {index}"));
            }
        }
        let turns = self.queues.control.turns();
        if std::mem::replace(&mut self.control, turns) == turns {
            stuck = Some("control".to_owned());
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_turn_is_named() {
        let queues = Arc::new(Queues::new(2).unwrap());
        let stats: Vec<_> = (0..2).map(|_| Arc::new(WorkerStats::default())).collect();
        let mut threads = Threads::new(queues.clone(), stats.clone());
        let turn = |workers: &[usize]| {
            queues.control.heard();
            workers.iter().for_each(|&worker| stats[worker].turns.set(stats[worker].turns.get() + 1));
        };
        turn(&[0, 1]);
        assert_eq!(threads.stuck(), None);
        turn(&[0]);
        assert_eq!(threads.stuck().as_deref(), Some("worker 1"));
        turn(&[0, 1]);
        assert_eq!(threads.stuck(), None, "it is not held against it");
        stats.iter().for_each(|stats| stats.turns.set(stats.turns.get() + 1));
        assert_eq!(threads.stuck().as_deref(), Some("control"));
    }
}
