//! Whom the examination is about: a daemon that runs, or one that is about to.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use super::finding::Finding;
use super::system::{System, cpu_list};
use crate::control::ask;
use crate::control::error::DaemonError;
use crate::control::server::{connect, socket_path};

/// Workers that a daemon has if nobody says how many.
const WORKERS_MAX: usize = 16;
/// How long to look whether datagrams of other gateways still come.
const STRAYS_AFTER: Duration = Duration::from_secs(1);
/// What counts these.
pub const STRAYS: &str = "drop_other_node";
/// The name of the finding that says whom all others are about.
pub const RUNNING: &str = "gateway.running";
/// What the others say if nobody has answered.
const PLANNED: &str = "All else here is of a daemon with the defaults that would be started now.";

/// Whom it is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The interface, if one was named.
    pub interface: Option<String>,
    /// In `/proc`: a number, or `self` for a daemon that would be started from here.
    pub process: String,
    /// The counters of a daemon that runs.
    pub stats: Option<BTreeMap<String, u64>>,
    /// Why there are none, if an interface was named.
    pub unserved: Option<Finding>,
    /// Datagrams of other gateways that came while we looked.
    pub strays: u64,
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
            unserved: None,
            strays: 0,
            workers: system.facts.cpus.iter().take(WORKERS_MAX).map(|&cpu| vec![cpu]).collect(),
        };
        let Some(name) = interface else { return planned };
        let (process, stats) = match running(name) {
            Ok(found) => found,
            Err(error) => return Self { unserved: Some(unserved(name, &error)), ..planned },
        };
        let workers = workers_of(system, &process);
        let strays = strays(name, &stats);
        Self { process, stats: Some(stats), strays, workers, ..planned }
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
fn running(interface: &str) -> Result<(String, BTreeMap<String, u64>), DaemonError> {
    let stats = counters(interface)?;
    let socket = connect(&socket_path(interface)).map_err(|source| ask::unanswered(interface, source))?;
    let peer = getsockopt(&socket.as_fd(), sockopt::PeerCredentials);
    let peer = peer.map_err(|errno| ask::unanswered(interface, errno.into()))?;
    Ok((peer.pid().to_string(), stats))
}

fn counters(interface: &str) -> Result<BTreeMap<String, u64>, DaemonError> {
    let stats = ask::stats(interface)?;
    let stats = stats.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Ok(stats.collect())
}

/// Datagrams of other gateways that come now, if any ever came.
fn strays(interface: &str, stats: &BTreeMap<String, u64>) -> u64 {
    let Some(&before) = stats.get(STRAYS).filter(|&&count| count > 0) else { return 0 };
    thread::sleep(STRAYS_AFTER);
    let now = counters(interface).ok().and_then(|stats| stats.get(STRAYS).copied());
    now.unwrap_or(before).saturating_sub(before)
}

fn unserved(name: &str, error: &DaemonError) -> Finding {
    match error {
        DaemonError::NotServed { source, .. } => {
            Finding::note(RUNNING, format!("no daemon serves interface {name} ({source})"), PLANNED)
                .remedy(format!("If it should run: ringfort up {name}"))
        }
        DaemonError::MayNotAsk { source, .. } => {
            let what = format!("whether a daemon serves interface {name} cannot be asked ({source})");
            Finding::note(RUNNING, what, PLANNED).remedy(format!("As root: sudo ringfort doctor {name}"))
        }
        DaemonError::NoAnswer { source, .. } => {
            let what = format!("the daemon that serves interface {name} does not answer ({source})");
            Finding::fault(RUNNING, what, format!("It is busy or stopped. {PLANNED}"))
                .remedy(format!("Its log may say why. To end it: ringfort down {name}"))
        }
        other => Finding::fault(RUNNING, other.to_string(), PLANNED)
            .remedy(format!("Ask it for its counters: ringfort stats {name}")),
    }
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
        Subject {
            interface: Some("wg0".to_owned()),
            process: "self".to_owned(),
            stats: None,
            unserved: None,
            strays: 0,
            workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::finding::Severity;
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
        let finding = subject.unserved.unwrap();
        assert_eq!((finding.check, finding.severity), (RUNNING, Severity::Note));
        assert!(finding.what.starts_with("no daemon serves interface no such interface"), "{finding:?}");
        assert_eq!(Subject::find(None, &machine.system).unserved, None, "nobody was named");
    }

    #[test]
    fn who_does_not_answer_is_not_nobody() {
        for (kind, severity, part) in [
            (ErrorKind::NotFound, Severity::Note, "no daemon serves"),
            (ErrorKind::PermissionDenied, Severity::Note, "cannot be asked"),
            (ErrorKind::WouldBlock, Severity::Fault, "does not answer"),
        ] {
            let finding = unserved("wg0", &ask::unanswered("wg0", kind.into()));
            assert_eq!((finding.check, finding.severity), (RUNNING, severity), "{kind}");
            assert!(finding.what.contains(part) && finding.why.contains("defaults"), "{finding:?}");
            assert!(finding.remedy.contains("wg0"), "{finding:?}");
        }
        let finding = unserved("wg0", &DaemonError::NoStatistics("wg0".to_owned()));
        assert!(finding.severity == Severity::Fault && finding.what.contains("wg0"), "{finding:?}");
    }
}
