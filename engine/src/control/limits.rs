//! The two limits of the system that a start runs into: open files and locked memory.
//!
//! What they must be is a sum with one line for each holder, so whoever is refused learns the number that helps.

use std::fmt;

use nix::sys::resource::{Resource, getrlimit};
use ringfort_worker::locked_len;

/// Descriptors of the process: signals; control's bell, epoll set and timer; the interface's queue and its three
/// netlink sockets; two netlink sockets for source addresses; two raw sockets for ICMP errors; the control socket, its
/// watch and its epoll set; the log, or before it the pipe to whoever waits until we are ready; the rules of the
/// sandbox, and the directory below `/proc` that it holds; the ways to whoever runs commands and to whoever looks names
/// up, and the bell of the thread that asks for them; for a process that comes after this one, a copy of the control
/// socket, and a pipe that tells it when this one is gone.
const OF_PROCESS: usize = 1 + 3 + 4 + 2 + 2 + 3 + 1 + 2 + 3 + 3;
/// Of metrics: a bell, a unix socket and a copy of it, and those who scrape.
const OF_METRICS: usize = 3 + crate::metrics::CLIENTS_MAX;
/// Of each worker: its bell, its queue and a copy of that, its ring, what the scheduler says of it, and the filter of
/// its sockets.
const OF_WORKER: usize = 6;
/// Of each worker while the interface is up: its two UDP sockets, once for control and once for the worker.
const OF_SOCKETS: usize = 4;
/// Of each worker while the listening port changes: the new sockets beside the old ones.
const OF_NEW_PORT: usize = OF_SOCKETS;
/// Clients of the control socket that there must be room for.
const CLIENTS_MIN: usize = 8;
/// What is opened for a moment: a lock, a socket to ask something, a file under `/proc`, the namespaces of an interface
/// that was moved.
const MOMENTARY: usize = 4;

/// A limit on open files that is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit on open files is {limit}, and {needed} are needed for this number of workers ({workers}): raise it \
     (ulimit -n {needed}, or LimitNOFILE={needed} in the service), or use fewer workers (--workers)"
)]
pub struct TooFewDescriptors {
    limit: usize,
    needed: usize,
    workers: usize,
}

/// Refuses a start that would run out of descriptors on its way, or later when it is asked for something.
///
/// # Errors
/// [`TooFewDescriptors`].
pub fn require_descriptors(workers: usize) -> Result<(), TooFewDescriptors> {
    require(descriptors_of(workers), workers)
}

/// The limit on open files that a start with the three standard ones needs.
#[must_use]
pub fn descriptors_needed(workers: usize) -> usize {
    const STANDARD: usize = 3;
    STANDARD + descriptors_of(workers)
}

fn descriptors_of(workers: usize) -> usize {
    OF_PROCESS + OF_METRICS + OF_WORKER * workers + reserve(workers) + CLIENTS_MIN
}

/// How many clients the control socket can have once everything else is open, with room left for what may be asked.
///
/// # Errors
/// [`TooFewDescriptors`] if these are too few.
pub fn clients_max(workers: usize, wanted: usize) -> Result<usize, TooFewDescriptors> {
    let reserve = reserve(workers) + crate::metrics::CLIENTS_MAX;
    require(reserve + CLIENTS_MIN, workers)?;
    let free = free_descriptors().take_while(|&fd| fd < open_files_limit()).take(reserve + wanted).count();
    Ok(free - reserve)
}

fn reserve(workers: usize) -> usize {
    (OF_SOCKETS + OF_NEW_PORT) * workers + MOMENTARY
}

/// The limit is on the numbers of descriptors, among which there may be inherited ones. So the free ones are looked
/// for.
fn require(count: usize, workers: usize) -> Result<(), TooFewDescriptors> {
    let limit = open_files_limit();
    let needed = free_descriptors().take(count).last().map_or(0, |last| last + 1);
    if needed > limit { Err(TooFewDescriptors { limit, needed, workers }) } else { Ok(()) }
}

fn free_descriptors() -> impl Iterator<Item = usize> {
    (0..libc::c_int::MAX)
        // SAFETY: F_GETFD takes no pointer, and looks at a descriptor without changing anything.
        .filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0)
        .map(|fd| usize::try_from(fd).expect("the range begins at 0"))
}

fn open_files_limit() -> usize {
    soft_limit(Resource::RLIMIT_NOFILE)
}

/// The limit in force; none is as good as a very high one.
fn soft_limit(resource: Resource) -> usize {
    getrlimit(resource).map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// The memory that all workers want to lock, beside the limit on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedMemory {
    workers: usize,
    /// Of the rings and all that they cannot do without, in bytes.
    rings: usize,
    arenas: usize,
    limit: usize,
}

impl LockedMemory {
    /// For that many workers.
    #[must_use]
    pub fn of(workers: usize) -> Self {
        let each = locked_len(workers);
        let limit = soft_limit(Resource::RLIMIT_MEMLOCK);
        Self { workers, rings: workers * each.ring, arenas: workers * each.arena, limit }
    }

    /// What to tell the operator when the rings are there, and `unlocked` arenas are not locked.
    #[must_use]
    pub fn note(self, unlocked: usize) -> String {
        let Self { workers, .. } = self;
        let all = Kib(self.rings + self.arenas);
        let (limit, remedy) = (Limit(self.limit), self.remedy());
        format!(
            "the packet memory of {unlocked} of {workers} workers is not locked, and they do without: all workers \
             together would lock {all}, and {limit}; {remedy} to change that",
        )
    }
}

impl LockedMemory {
    fn remedy(self) -> String {
        // Rounded up: the rings of a daemon that has just ended are charged for some time.
        let mib = (self.rings + self.arenas).div_ceil(1 << 20) + 1;
        match self.limit {
            usize::MAX => "free some, or raise the limit of the service on memory (MemoryMax=)".to_owned(),
            _ => format!("raise RLIMIT_MEMLOCK (ulimit -l {}, or LimitMEMLOCK={mib}M in the service)", mib << 10),
        }
    }
}

/// Why there are no rings.
impl fmt::Display for LockedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot lock memory for the io_urings of all workers ({}): they take {}, with packet memory {}, and {}: \
             {}, or use fewer workers (--workers)",
            self.workers,
            Kib(self.rings),
            Kib(self.rings + self.arenas),
            Limit(self.limit),
            self.remedy()
        )
    }
}

/// Bytes as `ulimit -l` counts them.
struct Kib(usize);

impl fmt::Display for Kib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0.div_ceil(1 << 10))
    }
}

/// The limit in force. Without one it was the memory itself that could not be had.
struct Limit(usize);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            usize::MAX => write!(f, "there is no limit on locked memory, but no memory left"),
            limit => write!(f, "the limit for all that runs as this user is {}", Kib(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever sets a limit by them must not be refused.
    #[test]
    fn the_numbers_in_the_documents_are_these() {
        let (process, worker) = (descriptors_needed(0), descriptors_needed(1) - descriptors_needed(0));
        for (file, said) in [
            ("docs/src/sizing.md", format!("| {process}, and {worker} for each worker |")),
            ("README.md", format!("It needs {process} open files and {worker} for each worker")),
            ("CHANGELOG.md", format!("and {worker} open files. The process needs {process} open files more")),
        ] {
            let text = std::fs::read_to_string(ringfort_handbook::root().join(file)).unwrap();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&said), "{file} does not say: {said}");
        }
    }

    #[test]
    fn free_descriptors_are_those_that_are_given_next() {
        let free = free_descriptors().next().unwrap();
        assert!(free >= 3, "standard input, output and error are open");
        let limit = open_files_limit();
        let refused = require(limit, 2).unwrap_err();
        assert!(refused.needed >= limit + 3, "{refused:?}");
        require(1, 2).unwrap();
    }

    #[test]
    fn refusals_name_the_sum_over_all_workers() {
        let each = locked_len(2);
        let two = LockedMemory { limit: 8 << 20, ..LockedMemory::of(2) };
        assert_eq!(two.rings + two.arenas, 2 * (each.ring + each.arena));
        let sum = format!("{} KiB", (2 * (each.ring + each.arena)).div_ceil(1024));
        for text in [two.to_string(), two.note(1)] {
            assert!(text.contains(&sum) && text.contains("8192 KiB") && text.contains("ulimit -l 14336"), "{text}");
        }
        let unlimited = LockedMemory { limit: usize::MAX, ..two };
        for text in [unlimited.to_string(), unlimited.note(1)] {
            assert!(text.contains("no limit") && text.contains("MemoryMax=") && !text.contains("ulimit"), "{text}");
        }
    }
}
