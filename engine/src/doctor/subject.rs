//! Whom the examination is about: a daemon that runs, or one that is about to.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

use super::system::{System, cpu_list};
use crate::control::ask;
use crate::control::server::{connect, socket_path};

/// Workers that a daemon has if nobody says how many.
const WORKERS_MAX: usize = 16;

/// Whom it is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The interface, if one was named.
    pub interface: Option<String>,
    /// In `/proc`: a number, or `self` for a daemon that would be started from here.
    pub process: String,
    /// The counters of a daemon that runs.
    pub stats: Option<BTreeMap<String, u64>>,
    /// The CPUs of each worker.
    pub workers: Vec<Vec<usize>>,
}

impl Subject {
    /// In `/proc`, the process that asks.
    pub const OURSELVES: &str = "self";

    /// The daemon that serves `interface`, or one with the defaults if none does.
    #[must_use]
    pub fn find(interface: Option<&str>, system: &System) -> Self {
        let planned = Self {
            interface: interface.map(str::to_owned),
            process: Self::OURSELVES.to_owned(),
            stats: None,
            workers: system.facts.cpus.iter().take(WORKERS_MAX).map(|&cpu| vec![cpu]).collect(),
        };
        let Some((process, stats)) = interface.and_then(running) else { return planned };
        let workers = workers_of(system, &process);
        Self { process, stats: Some(stats), workers, ..planned }
    }

    /// Whether it runs.
    #[must_use]
    pub const fn runs(&self) -> bool {
        self.stats.is_some()
    }

    /// The CPUs of all workers, each once.
    #[must_use]
    pub fn cpus(&self) -> Vec<usize> {
        let mut cpus: Vec<usize> = self.workers.iter().flatten().copied().collect();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }
}

/// The daemon that serves an interface, by its process and what it counts.
fn running(interface: &str) -> Option<(String, BTreeMap<String, u64>)> {
    let stats = ask::stats(interface).ok()?;
    let stats = stats.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    let socket = connect(&socket_path(interface)).ok()?;
    let peer = getsockopt(&socket.as_fd(), sockopt::PeerCredentials).ok()?;
    Some((peer.pid().to_string(), stats.collect()))
}

/// The CPUs of each worker of a process, by the names of its threads.
fn workers_of(system: &System, process: &str) -> Vec<Vec<usize>> {
    let tasks = format!("proc/{process}/task");
    let workers = system.names(&tasks).into_iter().filter_map(|task| {
        let name = system.read(&format!("{tasks}/{task}/comm"))?;
        name.strip_prefix("ringfort-w")?;
        cpu_list(&system.status(&format!("{process}/task/{task}"), "Cpus_allowed_list")?)
    });
    workers.collect()
}

#[cfg(test)]
pub mod fake {
    use super::*;

    /// One that is about to start, with a worker on each of these CPUs.
    pub fn planned(cpus: &[usize]) -> Subject {
        let workers = cpus.iter().map(|&cpu| vec![cpu]).collect();
        Subject { interface: Some("wg0".to_owned()), process: "self".to_owned(), stats: None, workers }
    }
}

#[cfg(test)]
mod tests {
    use super::super::system::fake::Machine;
    use super::*;

    #[test]
    fn workers_are_known_by_the_names_of_their_threads() {
        let mut machine = Machine::new();
        for (task, name, cpus) in [(10, "ringfort", "0-3"), (11, "ringfort-w0", "2"), (12, "ringfort-w1", "3")] {
            machine = machine.file(&format!("proc/9/task/{task}/comm"), &format!("{name}\n"));
            machine = machine.file(&format!("proc/9/task/{task}/status"), &format!("Cpus_allowed_list:\t{cpus}\n"));
        }
        assert_eq!(workers_of(&machine.system, "9"), [vec![2], vec![3]]);
    }

    #[test]
    fn nobody_serves_an_interface_that_is_not_there() {
        let machine = Machine::new();
        let subject = Subject::find(Some("no such interface"), &machine.system);
        assert!(!subject.runs());
        assert_eq!((subject.process.as_str(), subject.cpus()), ("self", vec![0, 1, 2, 3]));
    }
}
