//! What can be known to fail before anything is made.
//!
//! The rest is refused by whoever makes it, each with its own sentence: the interface by `tun-uring`, the ring and its
//! operations by `ring-buffers`, the ports by `udp-uring`.

use std::io;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::error::DaemonError;
use super::limits;
use crate::cli::Serve;
use crate::cli::cpus::Cpus;
use crate::doctor;

/// `CAP_NET_ADMIN` in `include/uapi/linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;

/// Checks everything that can be checked beforehand, and returns the CPU of each worker.
///
/// # Errors
/// [`DaemonError::NoCapability`], [`DaemonError::Cpu`] or [`DaemonError::TooFewDescriptors`].
pub fn check(cli: &Serve) -> Result<Vec<usize>, DaemonError> {
    require_capability()?;
    raise_limits();
    let usable = usable_cpus()?;
    let near = doctor::cpus_near_the_card();
    let cpus = cli.worker_cpus(&Cpus { usable: &usable, near: &near, reaches: &reaches })?;
    limits::require_descriptors(cpus.len())?;
    Ok(cpus)
}

/// Refuses to go on without the capability that everything else needs: the interface, the socket mark, the routes.
///
/// # Errors
/// [`DaemonError::NoCapability`].
pub fn require_capability() -> Result<(), DaemonError> {
    let effective = effective_capabilities().map_err(|error| DaemonError::system("read our capabilities", error))?;
    if effective & (1 << CAP_NET_ADMIN) == 0 {
        return Err(DaemonError::NoCapability);
    }
    Ok(())
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

/// The low 32 effective capabilities of this thread (`capget(2)`).
fn effective_capabilities() -> io::Result<u32> {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    /// `struct __user_cap_header_struct`.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    /// `struct __user_cap_data_struct`, of which version 3 stores two.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads and writes one header and stores two data structures, which both arguments have room for.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(data[0].effective) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_agree_with_procfs() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        let expected = u64::from_str_radix(line, 16).unwrap() as u32;
        assert_eq!(effective_capabilities().unwrap(), expected);
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
