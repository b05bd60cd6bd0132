//! What can be known to fail before anything is made.
//!
//! The rest is refused by whoever makes it, each with its own sentence: the interface by `tun-uring`, the ring and its
//! operations by `ring-buffers`, the ports by `udp-uring`.

use std::thread;

use caps::{CapSet, Capability, has_cap};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::error::DaemonError;
use super::limits;
use crate::cli::Serve;
use crate::cli::cpus::Cpus;
use crate::cli::memory::Memory;
use crate::doctor;

/// What the data plane is made with.
#[derive(Clone, Debug)]
pub struct Means {
    /// The CPU of each worker.
    pub cpus: Vec<usize>,
    /// What they may take together.
    pub memory: Memory,
}

/// Checks everything that can be checked beforehand, and returns what there is to work with.
///
/// # Errors
/// [`DaemonError::NoCapability`], [`DaemonError::Cpu`], [`DaemonError::Memory`] or [`DaemonError::TooFewDescriptors`].
pub fn check(cli: &Serve) -> Result<Means, DaemonError> {
    require_capability()?;
    raise_limits();
    let usable = usable_cpus()?;
    let near = doctor::cpus_near_the_card();
    let mut cpus = cli.worker_cpus(&Cpus { usable: &usable, near: &near, reaches: &reaches })?;
    let memory = cli.memory(doctor::memory_for_us());
    cpus.truncate(memory.workers(cpus.len(), cli.chooses_workers())?);
    limits::require_descriptors(cpus.len())?;
    Ok(Means { cpus, memory })
}

/// Refuses to go on without the capability that everything else needs: the interface, the socket mark, the routes.
///
/// # Errors
/// [`DaemonError::NoCapability`].
pub fn require_capability() -> Result<(), DaemonError> {
    match has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN) {
        Ok(true) => Ok(()),
        Ok(false) => Err(DaemonError::NoCapability),
        Err(error) => Err(DaemonError::system("read our capabilities", std::io::Error::other(error))),
    }
}

/// Takes as many descriptors and as much locked memory as we are allowed to, which is commonly more than we start with.
pub fn raise_limits() {
    for resource in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_MEMLOCK] {
        // If this fails, whoever needs more says so.
        if let Ok((_, hard)) = getrlimit(resource) {
            let _ = setrlimit(resource, hard, hard);
        }
    }
}

/// Whether somebody filters the system calls of this process: a container engine, or a service manager.
#[must_use]
pub fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() != "0")
}

/// The CPUs that this process may run on, in ascending order.
///
/// # Errors
/// The system's.
pub fn usable_cpus() -> Result<Vec<usize>, DaemonError> {
    let set =
        sched_getaffinity(Pid::from_raw(0)).map_err(|errno| DaemonError::system("read our CPU affinity", errno))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// Whether a thread of ours can be moved to a CPU. The affinity that we were started with does not bind us: an isolated
/// CPU is in nobody's before it is asked for. A cpuset does.
fn reaches(cpu: usize) -> bool {
    let attempt = move || {
        let mut set = CpuSet::new();
        set.set(cpu).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
    };
    // In a thread of its own, which ends with its affinity.
    thread::Builder::new().spawn(attempt).is_ok_and(|thread| thread.join().unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_agree_with_procfs() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        let expected = u64::from_str_radix(line, 16).unwrap();
        assert_eq!(require_capability().is_ok(), expected & (1 << 12) != 0);
    }

    #[test]
    fn there_is_a_cpu_to_run_on() {
        assert!(!usable_cpus().unwrap().is_empty());
    }

    /// Also from a thread that may run on a single other one.
    #[test]
    fn cpus_are_reached_whatever_we_were_started_with() {
        let cpus = usable_cpus().unwrap();
        let only = cpus[0];
        thread::spawn(move || {
            let mut set = CpuSet::new();
            set.set(only).unwrap();
            sched_setaffinity(Pid::from_raw(0), &set).unwrap();
            assert_eq!(usable_cpus().unwrap(), [only]);
            assert!(cpus.iter().all(|&cpu| reaches(cpu)));
            assert!(!reaches(CpuSet::count() - 1) && !reaches(100_000));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn limits_reach_their_hard_bounds() {
        raise_limits();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
