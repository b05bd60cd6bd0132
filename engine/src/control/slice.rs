//! How long a worker may have its core at a time when others want it too.
//!
//! A worker with a packet needs its core at once, and for microseconds. The scheduler lets a thread that wakes up take
//! the core from one with longer slices (Linux 6.12, `Documentation/scheduler/sched-eevdf.rst`). So workers ask for
//! short ones. Their share of the core stays what it is, unlike with a higher priority.

use std::time::Duration;

use nix::errno::Errno;

/// Others have more, some milliseconds where there are many CPUs. Kernels allow 0.1 ms at least.
const SLICE: Duration = Duration::from_micros(500);

/// Has the calling thread scheduled in short slices. A policy that somebody has given the process stays, as
/// `CPUSchedulingPolicy=` does. A kernel without such slices changes nothing, nor does a container that forbids the
/// call.
pub(super) fn shorten() {
    let result = attributes().and_then(|mut attributes| {
        if attributes.sched_policy != libc::SCHED_OTHER as u32 {
            return Ok(());
        }
        // All else stays: the nice value comes from the kernel, a moment ago.
        attributes.sched_runtime = SLICE.as_nanos() as u64;
        // SAFETY: the kernel reads a structure of the size that it names, and keeps no pointer to it.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
    });
    if let Err(errno) = result {
        log::info!("a worker has no shorter slices of its core than other programs: sched_setattr(2): {errno}");
    }
}

/// How the calling thread is scheduled.
fn attributes() -> Result<libc::sched_attr, Errno> {
    // SAFETY: it is plain numbers, for which zeros are values.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` bytes, which the structure has, and keeps no pointer to it.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    Errno::result(result).map(|_| attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, since it holds for what that starts.
    #[test]
    fn slices_are_shorter_and_all_else_stays() {
        std::thread::spawn(|| {
            let before = attributes().unwrap();
            shorten();
            let after = attributes().unwrap();
            assert_eq!((before.sched_policy, before.sched_nice), (after.sched_policy, after.sched_nice));
            if before.sched_runtime == 0 {
                println!("not run: this kernel has no slices that can be chosen (Linux 6.12)");
                return;
            }
            assert_eq!(after.sched_runtime, SLICE.as_nanos() as u64);
            assert!(after.sched_runtime < before.sched_runtime, "others have longer ones");
        })
        .join()
        .unwrap();
    }
}
