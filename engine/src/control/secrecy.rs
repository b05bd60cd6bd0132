//! What keeps secrets inside the process: no core dumps, and locked memory.

use std::sync::Once;

use nix::errno::Errno;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::error::DaemonError;

/// Forbids core dumps of this process, or allows them if they are wanted. Without them, nobody but root can look into
/// the process: ptrace and /proc/PID/mem are closed to others, also to its own user. To be called before the first key
/// is read, and again after the user has changed, which undoes either.
///
/// # Errors
/// The system's.
pub fn decide_core_dumps(are_wanted: bool) -> Result<(), DaemonError> {
    let step = if are_wanted { "allow core dumps" } else { "forbid core dumps" };
    let failed = |errno| DaemonError::system(step, errno);
    set_dumpable(are_wanted).map_err(failed)?;
    if are_wanted {
        return Ok(());
    }
    // Of the two this one is enough for files. The kernel ignores it if a core dump goes to a program. Commands that
    // the operator configured inherit it, and may raise it.
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(failed)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard).map_err(failed)
}

/// Says it, once, if keys are in memory that the kernel does not lock.
pub fn note_unlocked() {
    static SAID: Once = Once::new();
    let footprint = secret_memory::footprint();
    let Some(errno) = footprint.errno.filter(|_| footprint.locked < footprint.mapped) else { return };
    SAID.call_once(|| {
        let (unlocked, mapped) = ((footprint.mapped - footprint.locked) >> 10, footprint.mapped >> 10);
        log::warn!(
            "{unlocked} of {mapped} KiB with keys are not locked, and may get to a swap device: {}; raise \
             RLIMIT_MEMLOCK (LimitMEMLOCK= in the service), or encrypt the swap device",
            Errno::from_raw(errno).desc()
        );
    });
}

#[cfg(test)]
mod tests {
    use nix::sys::prctl::get_dumpable;

    use super::*;

    #[test]
    fn a_process_that_has_keys_dumps_no_core() {
        let limits = || getrlimit(Resource::RLIMIT_CORE).unwrap();
        let (before, hard) = limits();
        decide_core_dumps(true).unwrap();
        assert_eq!((get_dumpable().unwrap(), limits()), (true, (before, hard)));
        decide_core_dumps(false).unwrap();
        assert_eq!((get_dumpable().unwrap(), limits()), (false, (0, hard)));
        decide_core_dumps(true).unwrap();
        assert!(get_dumpable().unwrap(), "as after a change of the user");
    }
}
